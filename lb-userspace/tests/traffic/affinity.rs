//! Clients that stay with their backend (S-25 to S-28).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Pod, client};

use super::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, Service};

/// Requests in a row, each from a port of its own (S-28).
const CONFIRMED: usize = 15;
/// Longer than the test.
const LONG: u32 = 10_800;

/// The pods that answer so many requests over TCP.
fn pods_by_tcp(client: &Pod, to: SocketAddr, requests: usize) -> Result<BTreeSet<String>> {
    (0..requests)
        .map(|_| Ok(client::http_get(&client.netns, to)?.pod))
        .collect()
}

/// The pods that answer so many requests over UDP.
fn pods_by_udp(client: &Pod, to: SocketAddr, requests: usize) -> Result<BTreeSet<String>> {
    (0..requests)
        .map(|_| Ok(client::udp_exchange(&client.netns, to, b"who?")?.pod))
        .collect()
}

fn three_pods(cluster: &mut Cluster) -> Result<Vec<Pod>> {
    [(1, "b1"), (2, "b2"), (2, "b3")]
        .into_iter()
        .map(|(node, name)| cluster.backend(node, name))
        .collect()
}

/// S-25, S-27, S-28: switched on and off while the agent runs, and a client whose backend goes moves once.
#[test]
fn affinity_is_switched_on_and_off_and_ends_with_the_backend() -> Result<()> {
    Cluster::builder().test(|cluster| {
        let pods = three_pods(cluster)?;
        // Two clients, for a UDP socket may get the port of an earlier one, whose flow goes on with its own backend.
        let (client, other) = (cluster.client(1, "client")?, cluster.client(1, "other")?);
        let (loose, sticky) = (
            Service::new("web", 10),
            Service::new("web", 10).sticky(LONG),
        );
        for _ in 0..2 {
            cluster.publish(&loose, &Endpoint::all(&pods))?;
            for (tcp, udp) in loose.at(HTTP).into_iter().zip(loose.at(DATAGRAMS)) {
                ensure!(pods_by_tcp(&other, tcp, 40)?.len() > 1, "{tcp}: balanced");
                ensure!(pods_by_udp(&other, udp, 40)?.len() > 1, "{udp}: balanced");
            }
            cluster.publish(&sticky, &Endpoint::all(&pods))?;
            for (tcp, udp) in sticky.at(HTTP).into_iter().zip(sticky.at(DATAGRAMS)) {
                let by_tcp = pods_by_tcp(&client, tcp, CONFIRMED)?;
                ensure!(by_tcp.len() == 1, "{tcp}: {by_tcp:?}");
                let by_udp = pods_by_udp(&client, udp, CONFIRMED)?;
                ensure!(by_udp.len() == 1, "{udp}: {by_udp:?}");
            }
        }

        let [to, _] = sticky.at(HTTP);
        let had = pods_by_tcp(&client, to, 1)?;
        let left: Vec<&Pod> = pods
            .iter()
            .filter(|pod| !had.contains(&*pod.name))
            .collect();
        let endpoints: Vec<Endpoint> = left.iter().map(|pod| Endpoint::of(pod)).collect();
        cluster.publish(&sticky, &endpoints)?;
        let moved = pods_by_tcp(&client, to, CONFIRMED)?;
        ensure!(
            moved.len() == 1 && moved.is_disjoint(&had),
            "{moved:?} after {had:?}"
        );
        Ok(())
    })
}

/// S-26: the time runs from the last new connection.
#[test]
fn a_client_whose_time_is_over_is_balanced_again() -> Result<()> {
    const SECONDS: u32 = 2;
    Cluster::builder().test(|cluster| {
        let pods = three_pods(cluster)?;
        let client = cluster.client(1, "client")?;
        let sticky = Service::new("web", 10).sticky(SECONDS);
        cluster.publish(&sticky, &Endpoint::all(&pods))?;
        let [to, _] = sticky.at(HTTP);

        // Each new connection prolongs it: well beyond the timeout it still is one pod.
        let (start, mut kept) = (Instant::now(), BTreeSet::new());
        while start.elapsed() < Duration::from_secs(2 * u64::from(SECONDS) + 1) {
            kept.extend(pods_by_tcp(&client, to, 1)?);
        }
        ensure!(kept.len() == 1, "{kept:?}");

        let mut seen = BTreeSet::new();
        for _ in 0..10 {
            seen.extend(pods_by_tcp(&client, to, 1)?);
            if seen.len() > 1 {
                return Ok(());
            }
            // Nothing happens that could be waited for: the client has to be silent for so long.
            std::thread::sleep(Duration::from_secs(u64::from(SECONDS) + 1));
        }
        ensure!(seen.len() > 1, "still {seen:?}");
        Ok(())
    })
}
