//! Sockets in pods: left alone by default, served where all sockets are.

use anyhow::Result;
use lab::client::{self, UdpClient};
use lab::uninterrupted;

use super::super::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, Service};
use super::{on_nodes, sockets};

#[test]
fn a_pod_in_the_same_control_group_goes_by_its_packets() -> Result<()> {
    on_nodes(
        "host-pods",
        "host",
        Cluster::builder(),
        |cluster, cgroup| {
            let web = Service::new("web", 10);
            let backend = cluster.backend(2, "b")?;
            cluster.publish(&web, &[Endpoint::of(&backend)])?;
            let pod = cluster.client(1, "client")?;
            for vip in web.at(HTTP) {
                let answer = cgroup.run(|| client::http_get(&pod.netns, vip))?;
                assert_eq!((answer.pod.as_str(), answer.peer), ("b", answer.local));
            }
            for vip in web.at(DATAGRAMS) {
                let answer = cgroup.run(|| client::udp_exchange(&pod.netns, vip, b"x"))?;
                assert_eq!(answer.pod, "b");
            }
            let agent = cluster.agent(1);
            assert_eq!(agent.counter("socket-forward")?, 0);
            assert_eq!(agent.counter("new-flow")?, 4);
            Ok(())
        },
    )
}

#[test]
fn where_all_sockets_are_served_a_pods_packets_need_no_translation() -> Result<()> {
    let builder = Cluster::builder().nodes(1);
    on_nodes("all-pods", "all", builder, |cluster, cgroup| {
        let web = Service::new("web", 10);
        let backend = cluster.backend(1, "b")?;
        cluster.publish(&web, &[Endpoint::of(&backend)])?;
        let pod = cluster.client(1, "client")?;
        for vip in web.at(HTTP) {
            let answer = cgroup.run(|| client::http_get(&pod.netns, vip))?;
            assert_eq!((answer.pod.as_str(), answer.peer), ("b", answer.local));
            assert!(pod.addresses().contains(&answer.peer.ip()));
            // The backend's own socket, to itself.
            let answer = cgroup.run(|| client::http_get(&backend.netns, vip))?;
            assert_eq!(answer.pod, "b");
            // The node's own.
            let node = super::host(cluster);
            assert_eq!(cgroup.run(|| client::http_get(&node, vip))?.pod, "b");
        }
        for vip in web.at(DATAGRAMS) {
            let socket = sockets::unconnected(&pod.netns, cgroup, vip)?;
            socket.send_to(b"x", vip)?;
            let (_, from) = uninterrupted(|| socket.recv_from(&mut [0; 512]))?;
            assert_eq!(from, vip);
        }
        let agent = cluster.agent(1);
        assert_eq!(agent.counter("new-flow")?, 0, "no packet was translated");
        assert_eq!(agent.counter("socket-forward")?, 8);
        Ok(())
    })
}

/// S-51: nobody could end a pod's connected socket, so it goes by its packets and needs no end.
#[test]
fn where_all_sockets_are_served_a_pods_connected_socket_never_gets_stuck() -> Result<()> {
    let builder = Cluster::builder().nodes(1);
    on_nodes("all-stale", "all", builder, |cluster, cgroup| {
        let dns = Service::new("dns", 10);
        let pods = [cluster.backend(1, "gone")?, cluster.backend(1, "stays")?];
        let client = cluster.client(1, "client")?;
        for to in dns.at(DATAGRAMS) {
            cluster.publish(&dns, &Endpoint::all(&pods[..1]))?;
            let socket = cgroup.run(|| UdpClient::open(&client.netns, to))?;
            assert_eq!(socket.request(b"1")?.pod, "gone");
            cluster.publish(&dns, &Endpoint::all(&pods[1..]))?;
            assert_eq!(socket.request(b"2")?.pod, "stays");
        }
        assert_eq!(cluster.agent(1).counter("socket-forward")?, 0);
        Ok(())
    })
}
