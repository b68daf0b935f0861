//! Datagrams that are larger than the MTU, there and back (S-33). Every pod counts what it could not put together: none.

use anyhow::{Result, ensure};
use lab::{Netns, client, counters};

use super::cluster::{Cluster, DATAGRAMS, Endpoint, Service};
use super::on_both_cnis;

/// Octets of data: some fragments, many, nearly as many as a datagram can have.
const SIZES: [usize; 3] = [8_000, 20_001, 60_000];

/// Data in which no two fragments are alike.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Exchanges large datagrams with both VIPs of a Service, a few times each.
fn exchange(netns: &Netns, service: &Service, pod: &str) -> Result<()> {
    for vip in service.at(DATAGRAMS) {
        let client = client::UdpClient::open(netns, vip)?;
        for len in SIZES.into_iter().chain([1]).cycle().take(12) {
            let answer = client.request(&data(len))?;
            ensure!(answer.pod == pod, "{vip}: {} answered", answer.pod);
        }
    }
    Ok(())
}

/// Both families were put together in a namespace, and nothing could not be.
fn assert_put_together(netns: &Netns) -> Result<()> {
    let counted = counters(netns)?;
    for (good, bad) in [
        ("Ip.ReasmOKs", "Ip.ReasmFails"),
        ("Ip6ReasmOKs", "Ip6ReasmFails"),
    ] {
        let [good, bad] = [good, bad].map(|name| counted.get(name).copied().unwrap_or(0));
        ensure!(
            good > 0 && bad == 0,
            "{netns:?}: {good} whole, {bad} failed"
        );
    }
    Ok(())
}

on_both_cnis! {
    fn datagrams_of_8_to_60_kilobytes_go_through_the_vip_and_back_s33(builder) {
        builder.test(|cluster: &mut Cluster| {
            let client = cluster.client(1, "client")?;
            let services = cluster.near_and_far()?;
            for (service, pod) in &services {
                exchange(&client.netns, service, &pod.name)?;
                assert_put_together(&pod.netns)?;
            }
            assert_put_together(&client.netns)
        })
    }

    fn a_pod_reaches_itself_with_datagrams_of_60_kilobytes_s33_s42(builder) {
        builder.nodes(1).test(|cluster: &mut Cluster| {
            let pod = cluster.backend(1, "alone")?;
            let own = Service::new("own", 10);
            cluster.publish(&own, &[Endpoint::of(&pod)])?;
            exchange(&pod.netns, &own, "alone")?;
            assert_put_together(&pod.netns)
        })
    }
}
