//! Processes of a node stay with their backend, as clients in pods do (S-25 to S-28).

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::client::{self, UdpClient};
use lab::{Cgroup, Netns, Pod};

use super::super::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, Service};
use super::datagrams::ask;
use super::{host, on_nodes, sockets};

/// Requests in a row, each by a socket of its own (S-28).
const CONFIRMED: usize = 15;
/// Longer than the test.
const LONG: u32 = 10_800;

/// How a process asks.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// A TCP connection.
    Stream,
    /// A UDP socket that is connected.
    Connected,
    /// A UDP socket that is connected to nobody.
    Unconnected,
}

/// The pods that answer so many requests, each by a socket of its own.
fn pods(
    netns: &Netns,
    cgroup: &Cgroup,
    way: Way,
    to: SocketAddr,
    requests: usize,
) -> Result<BTreeSet<String>> {
    let ask_once = || match way {
        Way::Stream => Ok(cgroup.run(|| client::http_get(netns, to))?.pod),
        Way::Connected => {
            let socket = cgroup.run(|| UdpClient::open(netns, to))?;
            Ok(socket.request(b"who?")?.pod)
        }
        Way::Unconnected => {
            let socket = sockets::unconnected(netns, cgroup, to)?;
            who_answers(&socket, to)
        }
    };
    (0..requests).map(|_| ask_once()).collect()
}

/// The pod that answers a datagram.
fn who_answers(socket: &UdpSocket, to: SocketAddr) -> Result<String> {
    let (_, answer) = ask(socket, to, "who?")?;
    let pod = answer.split(' ').next();
    Ok(pod.context("an answer without a pod")?.to_owned())
}

fn three_pods(cluster: &mut Cluster) -> Result<Vec<Pod>> {
    [(1, "b1"), (1, "b2"), (2, "b3")]
        .into_iter()
        .map(|(node, name)| cluster.backend(node, name))
        .collect()
}

/// S-25, S-27, S-28.
#[test]
fn the_nodes_processes_stay_with_their_backend_until_it_goes() -> Result<()> {
    on_nodes(
        "host-sticky",
        "host",
        Cluster::builder(),
        |cluster, cgroup| {
            let backends = three_pods(cluster)?;
            let node = host(cluster);
            let loose = Service::new("web", 10);
            let sticky = Service::new("web", 10).sticky(LONG);
            for _ in 0..2 {
                cluster.publish(&loose, &Endpoint::all(&backends))?;
                for (tcp, udp) in loose.at(HTTP).into_iter().zip(loose.at(DATAGRAMS)) {
                    for (way, to) in ways(tcp, udp) {
                        let seen = pods(&node, cgroup, way, to, 40)?;
                        ensure!(seen.len() > 1, "{way:?} {to}: {seen:?}, not balanced");
                    }
                }
                cluster.publish(&sticky, &Endpoint::all(&backends))?;
                for (tcp, udp) in sticky.at(HTTP).into_iter().zip(sticky.at(DATAGRAMS)) {
                    for (way, to) in ways(tcp, udp) {
                        let seen = pods(&node, cgroup, way, to, CONFIRMED)?;
                        ensure!(seen.len() == 1, "{way:?} {to}: {seen:?}");
                    }
                }
            }

            let [to, _] = sticky.at(HTTP);
            let had = pods(&node, cgroup, Way::Stream, to, 1)?;
            let left: Vec<Endpoint> = backends
                .iter()
                .filter(|pod| !had.contains(&*pod.name))
                .map(Endpoint::of)
                .collect();
            cluster.publish(&sticky, &left)?;
            let moved = pods(&node, cgroup, Way::Stream, to, CONFIRMED)?;
            ensure!(
                moved.len() == 1 && moved.is_disjoint(&had),
                "{moved:?} after {had:?}"
            );
            assert_eq!(cluster.agent(1).counter("new-flow")?, 0);
            Ok(())
        },
    )
}

/// S-26: the time runs from the client's last new connection, and a flow of datagrams outlives it.
#[test]
fn a_process_whose_time_is_over_is_balanced_again_and_a_flow_of_datagrams_is_not() -> Result<()> {
    const SECONDS: u32 = 2;
    on_nodes(
        "host-timeout",
        "host",
        Cluster::builder(),
        |cluster, cgroup| {
            let backends = three_pods(cluster)?;
            let node = host(cluster);
            let sticky = Service::new("web", 10).sticky(SECONDS);
            cluster.publish(&sticky, &Endpoint::all(&backends))?;
            let [to, _] = sticky.at(DATAGRAMS);
            let flow = sockets::unconnected(&node, cgroup, to)?;
            let flows = who_answers(&flow, to)?;

            // Each new socket prolongs it: well beyond the timeout it still is one pod.
            let (start, mut kept) = (Instant::now(), BTreeSet::new());
            while start.elapsed() < Duration::from_secs(2 * u64::from(SECONDS) + 1) {
                kept.extend(pods(&node, cgroup, Way::Unconnected, to, 1)?);
            }
            ensure!(
                kept.len() == 1 && kept.contains(&flows),
                "{kept:?}, {flows}"
            );

            let mut seen = BTreeSet::new();
            for _ in 0..10 {
                seen.extend(pods(&node, cgroup, Way::Unconnected, to, 1)?);
                assert_eq!(who_answers(&flow, to)?, flows, "a flow goes on");
                if seen.len() > 1 {
                    return Ok(());
                }
                // Nothing happens that could be waited for: the client has to open nothing for so long.
                std::thread::sleep(Duration::from_secs(u64::from(SECONDS) + 1));
            }
            ensure!(seen.len() > 1, "still {seen:?}");
            Ok(())
        },
    )
}

/// S-25: where all sockets are served, each pod is a client of its own, and so is the node.
#[test]
fn where_all_sockets_are_served_every_pod_stays_with_a_backend_of_its_own() -> Result<()> {
    on_nodes(
        "all-sticky",
        "all",
        Cluster::builder(),
        |cluster, cgroup| {
            let backends = three_pods(cluster)?;
            let sticky = Service::new("web", 10).sticky(LONG);
            cluster.publish(&sticky, &Endpoint::all(&backends))?;
            let clients = (0..8).map(|n| cluster.client(1, &format!("client-{n}")));
            let clients: Vec<Pod> = clients.collect::<Result<_>>()?;
            let node = host(cluster);
            let [to, _] = sticky.at(HTTP);
            let mut seen = BTreeSet::new();
            for netns in clients.iter().map(|pod| &pod.netns).chain([&node]) {
                let of_one = pods(netns, cgroup, Way::Stream, to, CONFIRMED)?;
                ensure!(of_one.len() == 1, "{netns:?}: {of_one:?}");
                seen.extend(of_one);
            }
            // That nine draws of three are all one has a chance of 1 in 6 561.
            ensure!(seen.len() > 1, "all at {seen:?}");
            Ok(())
        },
    )
}

fn ways(tcp: SocketAddr, udp: SocketAddr) -> [(Way, SocketAddr); 3] {
    [
        (Way::Stream, tcp),
        (Way::Connected, udp),
        (Way::Unconnected, udp),
    ]
}
