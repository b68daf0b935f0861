//! A node that is dead while its endpoints are still listed as ready: new connections cost one retransmission and do not fail.

use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::client::KeptConnection;
use lab::{Netns, Pod};

use super::cluster::{Cluster, Endpoint, HTTP, Service};
use super::on_both_cnis;

/// Connections of each family.
const CONNECTIONS: usize = 60;
/// The client's third try comes after three seconds, its fourth after seven: one that needs those is told from one that is
/// never answered by its retransmissions, not by this.
const TIMEOUT: Duration = Duration::from_secs(20);

on_both_cnis! {
    /// With kube-proxy a third of the connections would hang until the client gives up.
    fn new_connections_pass_a_dead_node_by_after_one_retransmission(builder) {
        builder.nodes(3).test(|cluster| {
            let (client, pods) = client_and_pods(cluster)?;
            let web = Service::new("web", 10);
            cluster.publish(&web, &Endpoint::all(&pods))?;
            kill(cluster, 3, &pods[2])?;
            for vip in web.at(HTTP) {
                let connections = connect(&client.netns, vip)?;
                let moved = connections.iter().filter(|connection| connection.retransmitted > 0);
                assert!(moved.count() > CONNECTIONS / 6, "some were for the dead node: {connections:?}");
                for connection in &connections {
                    assert!(connection.retransmitted <= 1, "{connections:?}");
                    assert_ne!(connection.pod, "b3");
                }
            }
            assert!(cluster.agent(1).counter("failover")? >= CONNECTIONS as u64 / 3);
            Ok(())
        })
    }

    /// S-25: it stays where it was answered.
    fn a_client_with_affinity_leaves_a_dead_node_for_good(builder) {
        builder.nodes(3).test(|cluster| {
            let (client, pods) = client_and_pods(cluster)?;
            let web = Service::new("web", 10).sticky(10_800);
            cluster.publish(&web, &Endpoint::all(&pods))?;
            let [vip, _] = web.at(HTTP);
            let before = request(&client.netns, vip)?.pod;
            let dead = pods.iter().position(|pod| pod.name == before).context("a pod")?;
            kill(cluster, dead + 1, &pods[dead])?;

            let moved = request(&client.netns, vip)?;
            assert_eq!(moved.retransmitted, 1, "{moved:?}");
            assert_ne!(moved.pod, before);
            for connection in connect(&client.netns, vip)? {
                assert_eq!((connection.pod, connection.retransmitted), (moved.pod.clone(), 0));
            }
            Ok(())
        })
    }
}

/// A client on node 1, and a pod on each of three nodes.
fn client_and_pods(cluster: &mut Cluster) -> Result<(Pod, [Pod; 3])> {
    let client = cluster.client(1, "client")?;
    let pods = [
        cluster.backend(1, "b1")?,
        cluster.backend(2, "b2")?,
        cluster.backend(3, "b3")?,
    ];
    Ok((client, pods))
}

/// From here on the node drops what comes for the pod and says nothing.
fn kill(cluster: &Cluster, node: usize, pod: &Pod) -> Result<()> {
    cluster.lab.node(node).netns.ip(&[
        format!("route replace blackhole {}/32", pod.ipv4),
        format!("route replace blackhole {}/128", pod.ipv6),
    ])
}

/// What became of a connection.
#[derive(Debug)]
struct Outcome {
    pod: String,
    retransmitted: u32,
}

/// Opens as many connections at once, each of which must be answered.
fn connect(netns: &Netns, to: SocketAddr) -> Result<Vec<Outcome>> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| request(netns, to)))
            .collect();
        let outcomes = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        outcomes.collect()
    })
}

fn request(netns: &Netns, to: SocketAddr) -> Result<Outcome> {
    let mut connection = KeptConnection::open_within(netns, to, TIMEOUT)?;
    let retransmitted = retransmitted(&connection)?;
    Ok(Outcome {
        pod: connection.request()?.pod,
        retransmitted,
    })
}

/// How many segments the client's kernel has sent again.
fn retransmitted(connection: &KeptConnection) -> Result<u32> {
    // SAFETY: a struct of numbers, of which any octets are a value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the socket is open, and the kernel writes at most `len` octets to `info`.
    let result = unsafe {
        libc::getsockopt(
            connection.socket().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("TCP_INFO");
    }
    Ok(info.tcpi_total_retrans)
}
