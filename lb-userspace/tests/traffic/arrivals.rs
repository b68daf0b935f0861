//! Pods that are there before the agent, and pods that come after it.

use lab::client;

use super::cluster::{DATAGRAMS, Endpoint, HTTP, Service};
use super::on_both_cnis;

on_both_cnis! {
    fn a_pod_that_comes_while_the_agent_runs_is_served(builder) {
        builder.nodes(1).test(|cluster| {
            let web = Service::new("web", 10);
            let pod = cluster.backend(1, "b")?;
            cluster.publish(&web, &[Endpoint::of(&pod)])?;
            for name in ["first", "second"] {
                let client = cluster.client(1, name)?;
                for vip in web.at(HTTP) {
                    assert_eq!(client::http_get(&client.netns, vip)?.pod, "b", "{name}: {vip}");
                }
            }
            Ok(())
        })
    }

    fn pods_and_services_that_were_there_before_the_agent_are_served(builder) {
        builder.without_agents().test(|cluster| {
            let web = Service::new("web", 10);
            let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
            let clients = [cluster.client(1, "c1")?, cluster.client(2, "c2")?];
            cluster.publish(&web, &Endpoint::all(&pods))?;
            cluster.start_agents()?;
            for (client, node) in clients.iter().zip([1, 2]) {
                let agent = cluster.agent(node);
                agent.wait_until_attached(client)?;
                // Devices get their programs when the Services are in the maps, not before.
                for vip in web.at(HTTP) {
                    let report = client::http_many(&client.netns, vip, 60, 4)?;
                    assert_eq!(report.errors, 0, "{vip}: {report}");
                    assert!(report.of("near") > 0 && report.of("far") > 0, "{vip}: {report}");
                }
            }
            Ok(())
        })
    }

    /// S-5 at another time: the address is the same, the pod is not.
    fn a_pod_that_is_made_anew_with_its_old_address_serves_again(builder) {
        builder.nodes(1).test(|cluster| {
            let web = Service::new("web", 10);
            let old = cluster.backend(1, "old")?;
            let client = cluster.client(1, "client")?;
            cluster.publish(&web, &[Endpoint::of(&old)])?;
            for vip in web.at(DATAGRAMS) {
                assert_eq!(client::udp_exchange(&client.netns, vip, b"x")?.pod, "old");
            }
            cluster.publish(&web, &[])?;
            let new = cluster.backend_in_place_of(old, "new")?;
            cluster.publish(&web, &[Endpoint::of(&new)])?;
            for vip in web.at(DATAGRAMS) {
                assert_eq!(client::udp_exchange(&client.netns, vip, b"x")?.pod, "new");
            }
            for vip in web.at(HTTP) {
                assert_eq!(client::http_get(&client.netns, vip)?.pod, "new");
            }
            Ok(())
        })
    }
}
