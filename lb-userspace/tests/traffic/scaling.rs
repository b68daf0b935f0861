//! Endpoints that come and go under load.

use anyhow::Result;
use lab::client::{self, KeptConnection, Kind, UdpClient};

use super::cluster::{DATAGRAMS, Endpoint, HTTP, Service};
use super::load::MixedLoad;
use super::on_both_cnis;

on_both_cnis! {
    /// As the endpoint slice controller does it: first a pod drains, then it is no endpoint any more, then it goes.
    fn pods_come_and_go_and_no_request_fails(builder) {
        builder.test(|cluster| {
            let web = Service::new("web", 10);
            let mut pods = vec![cluster.backend(1, "b0")?, cluster.backend(2, "b1")?];
            cluster.publish(&web, &Endpoint::all(&pods))?;
            let client = cluster.client(1, "client")?;
            let load = MixedLoad::start_kinds(&client, &web, &[Kind::Http, Kind::Udp])?;
            for round in 2..6 {
                pods.push(cluster.backend(1 + round % 2, &format!("b{round}"))?);
                cluster.publish(&web, &Endpoint::all(&pods))?;
                load.wait_for_more(20)?;
                let old = pods.remove(0);
                let mut endpoints = Endpoint::all(&pods);
                endpoints.push(Endpoint::draining(&old));
                cluster.publish(&web, &endpoints)?;
                load.wait_for_more(20)?;
                cluster.publish(&web, &Endpoint::all(&pods))?;
                load.wait_for_more(20)?;
                old.delete()?;
            }
            load.wait_for_more(20)?;
            load.stop_without_errors();
            Ok(())
        })
    }

    /// S-22: when nothing else is left, what drains still serves.
    fn the_last_pod_serves_while_it_drains(builder) {
        builder.nodes(1).test(|cluster| {
            let web = Service::new("web", 10);
            let pod = cluster.backend(1, "b")?;
            let client = cluster.client(1, "client")?;
            cluster.publish(&web, &[Endpoint::of(&pod)])?;
            let load = MixedLoad::start(&client, &web)?;
            cluster.publish(&web, &[Endpoint::draining(&pod)])?;
            load.wait_for_more(20)?;
            load.stop_without_errors();
            Ok(())
        })
    }

    /// S-50: through the removal of its endpoint, of all endpoints and of the Service.
    fn an_established_connection_outlives_everything_but_its_pod(builder) {
        builder.test(|cluster| {
            let web = Service::new("web", 10);
            let (old, new) = (cluster.backend(2, "old")?, cluster.backend(1, "new")?);
            let client = cluster.client(1, "client")?;
            cluster.publish(&web, &[Endpoint::of(&old)])?;
            let mut kept = Vec::new();
            for vip in web.at(HTTP) {
                kept.push(KeptConnection::open(&client.netns, vip)?);
            }
            let mut assert_kept = |what: &str| -> Result<()> {
                for connection in &mut kept {
                    assert_eq!(connection.request()?.pod, "old", "{what}");
                }
                Ok(())
            };
            assert_kept("at first")?;

            cluster.publish(&web, &[Endpoint::of(&new)])?;
            assert_kept("after its endpoint is gone")?;
            for vip in web.at(HTTP) {
                assert_eq!(client::http_get(&client.netns, vip)?.pod, "new");
            }

            cluster.publish(&web, &[])?;
            assert_kept("without any endpoint")?;
            let [vip, _] = web.at(HTTP);
            let outcome = client::http_get(&client.netns, vip);
            assert!(outcome.is_err_and(|error| error.is_refused()));

            cluster.withdraw(&web)?;
            assert_kept("without the Service")
        })
    }

    /// S-51, from one socket that is never opened again.
    fn a_udp_client_with_a_fixed_port_follows_the_endpoints(builder) {
        builder.test(|cluster| {
            let dns = Service::new("dns", 10);
            let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
            let client = cluster.client(1, "client")?;
            for vip in dns.at(DATAGRAMS) {
                cluster.publish(&dns, &Endpoint::all(&pods))?;
                let socket = UdpClient::open_from(&client.netns, vip, 40_053)?;
                let ask = || socket.request(b"who?").map(|answer| answer.pod);
                let first = ask()?;
                assert_eq!(ask()?, first, "{vip}");
                let at = usize::from(first == pods[1].name);
                let (own, other) = (&pods[at], &pods[1 - at]);

                cluster.publish(&dns, &[Endpoint::draining(own), Endpoint::of(other)])?;
                assert_eq!(ask()?, own.name, "{vip}: a draining endpoint keeps its flows");
                cluster.publish(&dns, &[Endpoint::of(other)])?;
                assert_eq!(ask()?, other.name, "{vip}");

                cluster.publish(&dns, &[])?;
                let outcome = ask();
                assert!(outcome.as_ref().is_err_and(|e| e.is_refused()), "{vip}: {outcome:?}");

                cluster.publish(&dns, &[Endpoint::of(own)])?;
                assert_eq!(ask()?, own.name, "{vip}");

                cluster.withdraw(&dns)?;
                cluster.publish(&dns, &[Endpoint::of(other)])?;
                assert_eq!(ask()?, other.name, "{vip}: after the Service was deleted and made anew");
            }
            Ok(())
        })
    }
}
