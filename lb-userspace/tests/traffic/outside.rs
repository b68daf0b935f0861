//! A VIP is the cluster's own: nobody outside reaches it, and no packet with it leaves a node.

use std::net::IpAddr;
use std::time::Duration;

use lab::client::{self, ClientError, UdpClient};
use lab::{Frame, PacketSocket};

use super::cluster::{DATAGRAMS, HTTP};
use super::on_both_cnis;

const SILENCE: Duration = Duration::from_millis(400);

on_both_cnis! {
    fn a_client_outside_gets_no_answer_from_a_vip_though_it_has_a_route(builder) {
        builder.test(|cluster| {
            let services = cluster.near_and_far()?;
            let (node, outside) = (cluster.lab.node(1), cluster.lab.outside());
            outside.netns.ip(&[
                format!("route add {} via {}", lab::VIPS_V4, node.ipv4),
                format!("route add {} via {}", lab::VIPS_V6, node.ipv6),
            ])?;
            let arriving = PacketSocket::open(&node.netns, "eth0")?;
            for (service, pod) in &services {
                for to in service.at(HTTP) {
                    let outcome = client::http_get_within(&outside.netns, to, SILENCE);
                    assert!(outcome.as_ref().is_err_and(ClientError::is_timeout), "{to}: {outcome:?}");
                }
                for to in service.at(DATAGRAMS) {
                    let socket = UdpClient::open(&outside.netns, to)?.with_timeout(SILENCE);
                    let outcome = socket.request(b"anyone?");
                    assert!(outcome.as_ref().is_err_and(ClientError::is_timeout), "{to}: {outcome:?}");
                }
                for vip in service.vips() {
                    let asked = arriving.capture(Duration::from_secs(1), |frame| {
                        !frame.outgoing && mentions(frame, vip)
                    })?;
                    assert!(asked.is_some(), "the requests for {vip} came to the node");
                }
                // The pods themselves are reachable.
                for to in pod.sockets(HTTP.target) {
                    assert_eq!(client::http_get(&outside.netns, to)?.pod, pod.name);
                }
            }
            Ok(())
        })
    }

    fn no_packet_with_a_vip_leaves_the_node(builder) {
        builder.test(|cluster| {
            let services = cluster.near_and_far()?;
            let client = cluster.client(1, "client")?;
            let uplink = PacketSocket::open(&cluster.lab.node(1).netns, "eth0")?;
            for (service, _) in &services {
                for to in service.at(HTTP) {
                    client::http_get(&client.netns, to)?;
                }
                for to in service.at(DATAGRAMS) {
                    client::udp_exchange(&client.netns, to, b"x")?;
                }
                for vip in service.vips() {
                    let unknown = (vip, 81).into();
                    let outcome = client::http_get(&client.netns, unknown);
                    assert!(outcome.is_err_and(|error| error.is_refused()));
                }
            }
            let frames = uplink.drain(|_| true)?;
            let far = services[1].1.addresses();
            for address in far {
                let translated = frames.iter().any(|frame| mentions(frame, address));
                assert!(translated, "requests to {address} went by the uplink");
            }
            let vips = services.iter().flat_map(|(service, _)| service.vips());
            for vip in vips {
                let leaked = frames.iter().find(|frame| mentions(frame, vip));
                assert_eq!(leaked, None, "a packet with {vip} on the uplink");
            }
            Ok(())
        })
    }
}

/// Whether an address is the source or the destination of a packet.
pub fn mentions(frame: &Frame, address: IpAddr) -> bool {
    const ETHERNET: usize = 14;
    let packet = &frame.bytes[ETHERNET..];
    let at =
        |offset: usize, octets: &[u8]| packet.get(offset..offset + octets.len()) == Some(octets);
    match (packet.first().map(|octet| octet >> 4), address) {
        (Some(4), IpAddr::V4(ip)) => at(12, &ip.octets()) || at(16, &ip.octets()),
        (Some(6), IpAddr::V6(ip)) => at(8, &ip.octets()) || at(24, &ip.octets()),
        _ => false,
    }
}
