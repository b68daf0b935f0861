//! Processes of a node itself, the kubelet or a hostNetwork pod, reach VIPs through their sockets.
//!
//! Here a process of the node is a thread in the node's network namespace and in a control group of the test's own.

mod affinity;
mod datagrams;
mod families;
mod lifetime;
mod pods;
mod sockets;
mod unallocated;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::client::{self, ClientError, KeptConnection};
use lab::{Cgroup, Netns, wait_until};

use super::cluster::{Agent, Builder, Cluster, DATAGRAMS, Endpoint, HTTP, STREAMS, Service};
use super::refusal::{AT_ONCE, assert_refused};

/// How long an agent may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster whose agents serve sockets of a control group.
fn on_nodes(
    name: &str,
    scope: &'static str,
    builder: Builder,
    body: impl FnOnce(&mut Cluster, &Cgroup) -> Result<()>,
) -> Result<()> {
    let cgroup = Cgroup::create(name)?;
    let path = cgroup.path().to_str().context("a path in UTF-8")?;
    let builder = builder
        .flag("--socket-lb", scope)
        // Flags live as long as the test binary.
        .flag("--cgroup", path.to_owned().leak());
    builder.test(|cluster| {
        wait_until_attached(cluster.agent(1), scope)?;
        body(cluster, &cgroup)
    })
}

fn wait_until_attached(agent: &mut Agent, scope: &str) -> Result<()> {
    wait_until("the programs of sockets", PATIENCE, || {
        let status = agent.json(&["status"]);
        status.is_ok_and(|status| {
            let sockets = &status["sockets"];
            sockets["state"] == scope && sockets["programs"]["attached"] == 8
        })
    })
}

/// The network namespace of the first node.
fn host(cluster: &Cluster) -> Netns {
    cluster.lab.node(1).netns.clone()
}

/// S-22, S-40: connections go to all endpoints about evenly, from an address of the node, and nothing of theirs is
/// translated.
#[test]
fn connections_of_the_node_reach_every_backend() -> Result<()> {
    on_nodes("host-tcp", "host", Cluster::builder(), |cluster, cgroup| {
        let web = Service::new("web", 10);
        let pods = [
            cluster.backend(1, "near-1")?,
            cluster.backend(1, "near-2")?,
            cluster.backend(2, "far")?,
        ];
        cluster.publish(&web, &Endpoint::all(&pods))?;
        let node = host(cluster);
        let own: Vec<IpAddr> = own_addresses(&node)?;
        for vip in web.at(HTTP) {
            let mut counts = BTreeMap::<String, u32>::new();
            for _ in 0..300 {
                let answer = cgroup.run(|| client::http_get(&node, vip))?;
                assert_eq!(answer.peer, answer.local, "{}", answer.pod);
                assert!(
                    own.contains(&answer.peer.ip()),
                    "{} of {own:?}",
                    answer.peer
                );
                *counts.entry(answer.pod).or_default() += 1;
            }
            // A third each; five standard deviations are 41.
            assert_eq!(counts.len(), 3, "{vip}: {counts:?}");
            assert!(
                counts.values().all(|count| (59..141).contains(count)),
                "{vip}: {counts:?}"
            );
        }
        for vip in web.at(STREAMS) {
            cgroup.run(|| client::stream(&node, vip, 4 << 20))?;
        }
        let agent = cluster.agent(1);
        assert_eq!(agent.counter("new-flow")?, 0, "no packet was translated");
        assert!(agent.counter("socket-forward")? >= 602);
        let text = agent.text(&["status"])?;
        assert!(
            text.contains("sockets     host, 8 of 8 programs attached"),
            "{text}"
        );
        Ok(())
    })
}

/// S-30 a, c.
#[test]
fn what_no_endpoint_serves_is_refused_to_the_node_at_once() -> Result<()> {
    let builder = Cluster::builder().nodes(1);
    on_nodes("host-refuse", "host", builder, |cluster, cgroup| {
        let (empty, web) = (Service::new("empty", 10), Service::new("web", 11));
        let pod = cluster.backend(1, "b")?;
        cluster.publish(&empty, &[])?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        let node = host(cluster);
        let unknown = web.vips().map(|vip| SocketAddr::from((vip, 81)));
        for to in empty.at(HTTP).into_iter().chain(unknown) {
            let start = Instant::now();
            let outcome = cgroup.run(|| client::http_get(&node, to));
            assert_refused(to, outcome, start);
        }
        for to in empty.at(DATAGRAMS).into_iter().chain(unknown) {
            let start = Instant::now();
            let outcome = cgroup.run(|| client::udp_exchange(&node, to, b"anyone?"));
            assert_refused(to, outcome, start);
            let socket = sockets::unconnected(&node, cgroup, to)?;
            let outcome = socket.send_to(b"anyone?", to).map_err(|error| error.kind());
            assert_eq!(outcome, Err(std::io::ErrorKind::ConnectionRefused), "{to}");
        }
        let agent = cluster.agent(1);
        assert!(agent.counter("socket-no-endpoint")? >= 6);
        assert!(agent.counter("socket-unknown-port")? >= 6);
        Ok(())
    })
}

/// S-23, S-30 b: where a packet would be dropped, a connection times out, though at once, and a datagram is forbidden.
#[test]
fn without_an_endpoint_on_the_node_a_local_service_fails() -> Result<()> {
    on_nodes(
        "host-local",
        "host",
        Cluster::builder(),
        |cluster, cgroup| {
            let pod = cluster.backend(2, "b")?;
            let local = Service::new("local", 10).local();
            cluster.publish(&local, &[Endpoint::of(&pod)])?;
            let node = host(cluster);
            let there = cluster.lab.node(2).netns.clone();
            for to in local.at(HTTP) {
                let start = Instant::now();
                let outcome = cgroup.run(|| client::http_get(&node, to));
                assert!(
                    outcome.as_ref().is_err_and(ClientError::is_timeout),
                    "{to}: {outcome:?}"
                );
                assert!(
                    start.elapsed() < AT_ONCE,
                    "{to} after {:?}",
                    start.elapsed()
                );
                assert_eq!(cgroup.run(|| client::http_get(&there, to))?.pod, "b");
            }
            for to in local.at(DATAGRAMS) {
                let socket = sockets::unconnected(&node, cgroup, to)?;
                let outcome = socket.send_to(b"anyone?", to).map_err(|error| error.kind());
                assert_eq!(outcome, Err(std::io::ErrorKind::PermissionDenied), "{to}");
                let outcome = cgroup.run(|| client::udp_exchange(&node, to, b"anyone?"));
                let kind = outcome.as_ref().err().and_then(ClientError::io_kind);
                assert_eq!(kind, Some(std::io::ErrorKind::PermissionDenied), "{to}");
            }
            assert!(cluster.agent(1).counter("socket-no-local-endpoint")? >= 6);
            Ok(())
        },
    )
}

/// Whoever asks its socket is told the VIP, however the connection came about.
#[test]
fn a_process_sees_the_vip_at_the_other_end() -> Result<()> {
    let builder = Cluster::builder().nodes(1);
    on_nodes("host-peer", "host", builder, |cluster, cgroup| {
        let web = Service::new("web", 10);
        let pod = cluster.backend(1, "b")?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        let node = host(cluster);
        let [v4, v6] = web.at(HTTP);
        let IpAddr::V4(address) = v4.ip() else {
            anyhow::bail!("{v4} is of IPv4");
        };
        // A socket of IPv6 that speaks IPv4.
        let mapped = SocketAddr::from((address.to_ipv6_mapped(), v4.port()));
        for to in [v4, v6, mapped] {
            let mut connection = cgroup.run(|| KeptConnection::open(&node, to))?;
            assert_eq!(connection.socket().peer_addr()?, to);
            assert_eq!(connection.request()?.pod, "b", "{to}");
            let fast = sockets::fast_open(&node, cgroup, to)?;
            assert_eq!(fast.peer_addr()?, to, "fast open");
            sockets::check_answer(&fast, "b")?;
            // Who knows the pod is shown the pod.
            let own = pod.sockets(HTTP.target)[usize::from(to == v6)];
            let direct = cgroup.run(|| KeptConnection::open(&node, own))?;
            assert_eq!(direct.socket().peer_addr()?, own);
        }
        sockets::check_one_socket_after_another(&node, cgroup, v4, pod.sockets(HTTP.target)[0])
    })
}

/// The addresses of a namespace.
fn own_addresses(netns: &Netns) -> Result<Vec<IpAddr>> {
    let text = netns.ip_output(&["-o", "addr", "show"])?;
    let addresses: Vec<IpAddr> = text
        .split_ascii_whitespace()
        .filter_map(|word| word.split('/').next()?.parse().ok())
        .collect();
    ensure!(!addresses.is_empty(), "{netns:?} has no address: {text}");
    Ok(addresses)
}
