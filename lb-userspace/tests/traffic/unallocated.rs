//! Addresses of the Service CIDR that no Service has (S-30 d). The nodes have a default route to the machine outside.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{PacketSocket, client, wait_until};

use super::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, Service};
use super::on_both_cnis;
use super::outside::mentions;
use super::pings::ping;
use super::refusal::assert_silent;

const PATIENCE: Duration = Duration::from_secs(10);

const CIDRS: &str = "\
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata:
  name: kubernetes
spec:
  cidrs: [10.96.0.0/12, 'fd00:10:96::/112']
";

/// Waits until the agent of node 1 has written so many ranges.
fn wait_for_ranges(cluster: &mut Cluster, count: usize) -> Result<()> {
    let agent = cluster.agent(1);
    wait_until("the Service CIDRs", PATIENCE, || {
        let status = agent.json(&["status"]);
        status.is_ok_and(|status| status["service_cidrs"].as_array().map(Vec::len) == Some(count))
    })
}

on_both_cnis! {
    fn a_service_that_is_gone_is_silent_counted_and_leaves_the_node_no_packet_s30d(builder) {
        builder.nodes(1).test(|cluster| {
            let client = cluster.client(1, "client")?;
            let pod = cluster.backend(1, "b")?;
            let (web, gone) = (Service::new("web", 10), Service::new("gone", 11));
            cluster.publish(&web, &[Endpoint::of(&pod)])?;
            cluster.publish(&gone, &[Endpoint::of(&pod)])?;
            for vip in gone.at(HTTP) {
                ensure!(client::http_get(&client.netns, vip)?.pod == "b");
            }
            let sink = PacketSocket::open(&cluster.lab.outside().netns, "eth0")?;
            let leaked = |vips: [IpAddr; 2]| {
                sink.drain(|frame| vips.iter().any(|vip| mentions(frame, *vip)))
            };
            // Without a range they leave by the default route: so the sink would see them.
            let never = Service::new("never", 12);
            for (tcp, udp) in never.at(HTTP).into_iter().zip(never.at(DATAGRAMS)) {
                assert_silent(&client.netns, tcp, udp)?;
            }
            ensure!(!leaked(never.vips())?.is_empty(), "the sink sees nothing");

            cluster.write("cidrs.yaml", CIDRS)?;
            wait_for_ranges(cluster, 2)?;
            cluster.withdraw(&gone)?;
            for service in [&gone, &never] {
                leaked(service.vips())?;
                for (tcp, udp) in service.at(HTTP).into_iter().zip(service.at(DATAGRAMS)) {
                    let before = cluster.agent(1).counter("unallocated")?;
                    assert_silent(&client.netns, tcp, udp)?;
                    let after = cluster.agent(1).counter("unallocated")?;
                    ensure!(after >= before + 2, "{tcp}, {udp}: {before}, then {after}");
                }
                for vip in service.vips() {
                    let said = ping(&client, vip, "56")?;
                    ensure!(said.contains(" 0 received"), "{vip}: {said}");
                }
                let leaked = leaked(service.vips())?;
                ensure!(leaked.is_empty(), "left the node: {leaked:?}");
            }
            for vip in web.at(HTTP) {
                ensure!(client::http_get(&client.netns, vip)?.pod == "b");
            }
            // The data plane goes on without an agent, and serves the address at once when it has a Service again.
            cluster.agent(1).kill()?;
            assert_silent(&client.netns, gone.at(HTTP)[0], gone.at(DATAGRAMS)[0])?;
            ensure!(leaked(gone.vips())?.is_empty());
            cluster.start_agents()?;
            cluster.publish(&gone, &[Endpoint::of(&pod)])?;
            for vip in gone.at(HTTP) {
                ensure!(client::http_get(&client.netns, vip)?.pod == "b");
            }
            cluster.write("cidrs.yaml", "")?;
            wait_for_ranges(cluster, 0)
        })
    }
}
