//! Datagrams that are larger than the MTU, there and back (S-33). Every pod counts what it could not put together: none.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Netns, client, counters, uninterrupted};
use lb_common::packet::{ETHERNET, Parse};
use lb_common::testing::{Frame, L4};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};
use std::os::fd::AsRawFd;

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

/// Sends a datagram with the last fragment first, the first one last.
fn send_backwards(netns: &Netns, from: SocketAddr, to: SocketAddr, data: &[u8]) -> Result<()> {
    match (from, to) {
        (SocketAddr::V4(a), SocketAddr::V4(b)) => {
            fragments_backwards(netns, (a.ip().octets(), b.ip().octets()), (from, to), data)
        }
        (SocketAddr::V6(a), SocketAddr::V6(b)) => {
            fragments_backwards(netns, (a.ip().octets(), b.ip().octets()), (from, to), data)
        }
        _ => anyhow::bail!("{from} and {to} are of two families"),
    }
}

fn fragments_backwards<A: Parse>(
    netns: &Netns,
    (source, destination): (A, A),
    (from, to): (SocketAddr, SocketAddr),
    data: &[u8],
) -> Result<()> {
    let whole = Frame::new(source, destination, L4::udp(from.port(), to.port(), data));
    let mut next_hop = to;
    next_hop.set_port(0);
    let next_hop = SockaddrStorage::from(next_hop);
    let family = if to.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fragments = whole.fragments(from.port().into(), 1_400);
    let frames: Vec<Vec<u8>> = fragments.iter().rev().map(Frame::build).collect();
    netns.run(|| {
        let raw = socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw)?;
        for frame in &frames {
            sendto(
                raw.as_raw_fd(),
                &frame[ETHERNET..],
                &next_hop,
                MsgFlags::empty(),
            )?;
        }
        Ok(())
    })
}

fn bind(netns: &Netns, to: SocketAddr) -> Result<UdpSocket> {
    let socket = netns.run(|| UdpSocket::bind(to)).context(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

fn receive(socket: &UdpSocket) -> Result<(Vec<u8>, SocketAddr)> {
    let mut octets = vec![0; 65_536];
    let (len, from) = uninterrupted(|| socket.recv_from(&mut octets))?;
    octets.truncate(len);
    Ok((octets, from))
}

on_both_cnis! {
    fn a_datagram_whose_first_fragment_comes_last_goes_through_the_vip_and_back_s33(builder) {
        builder.test(|cluster: &mut Cluster| {
            let client = cluster.client(1, "client")?;
            for (node, name, vip) in [(1, "near", 10), (2, "far", 11)] {
                let pod = cluster.client(node, name)?;
                let service = Service::new(name, vip);
                cluster.publish(&service, &[Endpoint::of(&pod)])?;
                let vips = service.at(DATAGRAMS).into_iter();
                for ((vip, own), from) in vips.zip(pod.sockets(DATAGRAMS.target)).zip(client.sockets(40_000)) {
                    let server = bind(&pod.netns, own)?;
                    let asking = bind(&client.netns, from)?;
                    for len in SIZES {
                        send_backwards(&client.netns, from, vip, &data(len))?;
                        let (heard, by) = receive(&server).with_context(|| format!("{vip}, {len} octets"))?;
                        ensure!(heard == data(len) && by == from, "{len} octets from {by}");
                        send_backwards(&pod.netns, own, from, &data(len))?;
                        let (heard, by) = receive(&asking).with_context(|| format!("from {vip}, {len} octets"))?;
                        ensure!(heard == data(len) && by == vip, "{len} octets from {by}");
                    }
                }
            }
            ensure!(cluster.agent(1).counter("fragment-held")? > 0);
            Ok(())
        })
    }

    /// Who knows the pod's own address is served in any order as well.
    fn fragments_for_no_service_reach_a_pod_in_any_order_s33(builder) {
        builder.test(|cluster: &mut Cluster| {
            let client = cluster.client(1, "client")?;
            let pod = cluster.client(2, "far")?;
            for (own, from) in pod.sockets(7_000).into_iter().zip(client.sockets(40_000)) {
                let server = bind(&pod.netns, own)?;
                for len in SIZES {
                    send_backwards(&client.netns, from, own, &data(len))?;
                    let (heard, by) = receive(&server).with_context(|| format!("{own}, {len} octets"))?;
                    ensure!(heard == data(len) && by == from, "{len} octets from {by}");
                }
            }
            Ok(())
        })
    }

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
