//! Where requests go, and whom the backends see.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use lab::{Pod, client};

use super::cluster::{Cluster, Endpoint, HTTP, Service};
use super::on_both_cnis;

/// Three pods share ten thousand requests, one of them on the client's node and two on the other.
#[test]
fn requests_of_one_pod_spread_evenly_and_none_fails() -> Result<()> {
    Cluster::builder().test(|cluster| {
        let pods = [(1, "b1"), (2, "b2"), (2, "b3")]
            .into_iter()
            .map(|(node, name)| cluster.backend(node, name))
            .collect::<Result<Vec<_>>>()?;
        let web = Service::new("web", 10);
        cluster.publish(&web, &Endpoint::all(&pods))?;
        let client = cluster.client(1, "client")?;
        for vip in web.at(HTTP) {
            check_spread(&client, vip)?;
        }
        Ok(())
    })
}

on_both_cnis! {
    /// S-40: no address is translated but the VIP's.
    fn a_backend_sees_the_address_of_the_client_pod(builder) {
        builder.test(|cluster| {
            let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
            let client = cluster.client(1, "client")?;
            for (pod, octet) in pods.iter().zip(10..) {
                let service = Service::new("one", octet);
                cluster.publish(&service, &[Endpoint::of(pod)])?;
                for (vip, own) in service.at(HTTP).into_iter().zip(client.addresses()) {
                    let answer = client::http_get(&client.netns, vip)?;
                    assert_eq!((answer.pod.as_str(), answer.peer.ip()), (&*pod.name, own));
                    assert_eq!(answer.peer, answer.local, "{vip}");
                }
            }
            Ok(())
        })
    }
}

/// Requests from ports that the kernel chooses, in steps of random width (`__inet_hash_connect` in
/// `net/ipv4/inet_hashtables.c`): each measure is a sample, of which chance alone puts one in twenty beyond the bound. A
/// table that favours a pod fails every one of them.
fn check_spread(client: &Pod, vip: SocketAddr) -> Result<()> {
    const SAMPLES: usize = 3;
    let mut told = String::new();
    for _ in 0..SAMPLES {
        let report = client::http_many(&client.netns, vip, 10_000, 16)?;
        assert_eq!(
            (report.total, report.errors),
            (10_000, 0),
            "{vip}: {report}"
        );
        if report.worst_imbalance(3) < 0.03 {
            return Ok(());
        }
        told += &format!("\n{report}");
    }
    bail!("{vip}: in each sample a share is off by more than 3 %:{told}")
}
