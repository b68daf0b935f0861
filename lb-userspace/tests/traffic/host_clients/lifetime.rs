//! How long the node's processes are served: from an agent's first write until `lb cleanup`, agent or not.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::client;

use super::super::cluster::{Cluster, Endpoint, HTTP, Service};
use super::{host, on_nodes, wait_until_attached};

const SILENCE: Duration = Duration::from_millis(400);

#[test]
fn the_node_is_served_without_an_agent_and_by_the_next_one_until_cleanup() -> Result<()> {
    let builder = Cluster::builder().nodes(1);
    on_nodes("host-life", "host", builder, |cluster, cgroup| {
        let web = Service::new("web", 10);
        let pods = [cluster.backend(1, "first")?, cluster.backend(1, "second")?];
        cluster.publish(&web, &Endpoint::all(&pods[..1]))?;
        let node = host(cluster);
        let served_by = |expected: &str| -> Result<()> {
            for vip in web.at(HTTP) {
                let answer = cgroup.run(|| client::http_get(&node, vip))?;
                ensure!(answer.pod == expected, "{vip} led to {}", answer.pod);
            }
            Ok(())
        };
        served_by("first")?;
        cluster.agent(1).kill()?;
        served_by("first")?;
        cluster.agent(1).start_and_wait()?;
        wait_until_attached(cluster.agent(1), "host")?;
        served_by("first")?;
        cluster.publish(&web, &Endpoint::all(&pods[1..]))?;
        served_by("second")?;

        let agent = cluster.agent(1);
        assert!(agent.terminate()?.success());
        served_by("second")?;
        let cluster_agent = cluster.agent(1);
        let said = cluster_agent.text(&["cleanup"])?;
        assert!(said.contains("cgroup_connect4"), "{said}");
        for vip in web.at(HTTP) {
            let outcome = cgroup.run(|| client::http_get_within(&node, vip, SILENCE));
            assert!(outcome.is_err(), "{vip}: {outcome:?}");
        }
        Ok(())
    })
}

/// The agent says so, and the rest works.
#[test]
fn without_a_cgroup_pods_are_served_all_the_same() -> Result<()> {
    let builder = Cluster::builder()
        .nodes(1)
        .flag("--socket-lb", "host")
        .flag("--cgroup", "/proc");
    builder.test(|cluster| {
        let web = Service::new("web", 10);
        let pod = cluster.backend(1, "b")?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        let client = cluster.client(1, "client")?;
        for vip in web.at(HTTP) {
            assert_eq!(client::http_get(&client.netns, vip)?.pod, "b");
        }
        let agent = cluster.agent(1);
        agent.wait_for_log(&["WARN", "/proc is no cgroup", "--cgroup"])?;
        let text = agent.text(&["status"])?;
        assert!(
            text.contains("sockets     not served: no cgroup v2"),
            "{text}"
        );
        Ok(())
    })
}
