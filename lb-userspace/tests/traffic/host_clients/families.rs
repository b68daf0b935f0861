//! An agent that serves one family leaves the other alone, to pods and to processes of the node, and serves it again once it is
//! told to.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Cgroup, Netns, PacketSocket, client, wait_until};

use super::{PATIENCE, host, on_nodes, wait_until_attached};
use crate::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, Service};
use crate::outside::mentions;
use crate::refusal::assert_silent;

/// How long an answer may take from one machine to itself.
const SOON: Duration = Duration::from_millis(300);

/// A pod, and a process of the node.
struct Clients<'a> {
    pod: Netns,
    node: Netns,
    cgroup: &'a Cgroup,
}

impl Clients<'_> {
    /// How many of the two are answered by a pod behind the VIP.
    fn answered(&self, vip: SocketAddr) -> usize {
        let pod = client::http_get_within(&self.pod, vip, SOON);
        let process = || client::http_get_within(&self.node, vip, SOON);
        let process = self.cgroup.run(process);
        [pod, process].iter().filter(|it| it.is_ok()).count()
    }

    /// Waits until so many are: the next agent's programs take the place of the last one's.
    fn wait_until_answered(&self, vip: SocketAddr, count: usize) -> Result<()> {
        wait_until(&format!("{count} answers from {vip}"), PATIENCE, || {
            self.answered(vip) == count
        })
    }
}

#[test]
fn a_family_that_is_not_served_passes_and_is_served_again_when_it_is_wanted() -> Result<()> {
    const RANGES: &str = "10.96.0.0/12,fd00:10:96::/112";
    let builder = Cluster::builder().nodes(1).flag("--service-cidr", RANGES);
    on_nodes("host-family", "host", builder, |cluster, cgroup| {
        let (web, nobody) = (Service::new("web", 10), Service::new("nobody", 11));
        let backend = cluster.backend(1, "b")?;
        let endpoints = [Endpoint::of(&backend)];
        cluster.publish(&web, &endpoints)?;
        let pod = cluster.client(1, "client")?;
        let clients = Clients {
            pod: pod.netns.clone(),
            node: host(cluster),
            cgroup,
        };
        let sink = PacketSocket::open(&cluster.lab.outside().netns, "eth0")?;
        let [v4, v6] = web.at(HTTP);
        for vip in [v4, v6] {
            clients.wait_until_answered(vip, 2)?;
        }

        let agent = cluster.agent(1);
        agent.terminate()?;
        agent.flags.insert("--ip-families", "ipv4");
        agent.start_and_wait()?;
        wait_until_attached(agent, "host")?;
        clients.wait_until_answered(v6, 0)?;
        assert_eq!(clients.answered(v4), 2);
        // Neither translated nor dropped nor refused: they leave by the default route as they are.
        for service in [&web, &nobody] {
            let [_, vip] = service.vips();
            let ([_, tcp], [_, udp]) = (service.at(HTTP), service.at(DATAGRAMS));
            sink.drain(|frame| mentions(frame, vip))?;
            assert_silent(&clients.pod, tcp, udp)?;
            let of_pod = sink.drain(|frame| mentions(frame, vip))?;
            assert!(!of_pod.is_empty(), "of a pod to {vip}");
            cgroup.run(|| assert_silent(&clients.node, tcp, udp))?;
            let of_process = sink.drain(|frame| mentions(frame, vip))?;
            assert!(!of_process.is_empty(), "of the node to {vip}");
        }
        let agent = cluster.agent(1);
        let status = agent.json(&["status"])?;
        assert_eq!(status["families"], "IPv4");
        assert_eq!(status["service_cidrs"], serde_json::json!(["10.96.0.0/12"]));
        let maps = status["maps"].as_array().context("maps")?;
        let names: Vec<_> = maps.iter().filter_map(|map| map["map"].as_str()).collect();
        assert!(names.iter().any(|map| map.ends_with("_v4")), "{names:?}");
        assert!(!names.iter().any(|map| map.ends_with("_v6")), "{names:?}");

        agent.terminate()?;
        agent.flags.remove("--ip-families");
        agent.start_and_wait()?;
        agent.wait_until_serves(&web, &endpoints)?;
        for vip in [v4, v6] {
            clients.wait_until_answered(vip, 2)?;
        }
        Ok(())
    })
}
