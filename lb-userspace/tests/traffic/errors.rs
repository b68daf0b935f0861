//! ICMP errors about connections through a VIP reach those whom they concern (S-32).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::client::{self, UdpClient};
use lab::{Netns, Pod, counters, uninterrupted, wait_for};

use super::cluster::{DATAGRAMS, Endpoint, STREAMS, Service};
use super::on_both_cnis;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The MTU of the narrow hop; the others have 1500.
const NARROW: u32 = 1_300;

on_both_cnis! {
    fn a_datagram_to_a_closed_port_of_the_backend_is_refused_s32(builder) {
        builder.test(|cluster| {
            let client = cluster.client(1, "client")?;
            // Without servers.
            let pods = [cluster.client(1, "near")?, cluster.client(2, "far")?];
            for (pod, vip) in pods.iter().zip([10, 11]) {
                let service = Service::new(["near", "far"][usize::from(vip - 10)], vip);
                cluster.publish(&service, &[Endpoint::of(pod)])?;
                for vip in service.at(DATAGRAMS) {
                    let error = client::udp_exchange(&client.netns, vip, b"hello").expect_err("nobody answers");
                    ensure!(error.is_refused(), "{vip}: {error}");
                }
            }
            ensure!(cluster.agent(1).counter("icmp-error")? >= 4);
            Ok(())
        })
    }

    fn a_pod_that_reaches_its_own_closed_port_is_refused_s32_s42(builder) {
        builder.nodes(1).test(|cluster| {
            let pod = cluster.client(1, "alone")?;
            let own = Service::new("own", 10);
            cluster.publish(&own, &[Endpoint::of(&pod)])?;
            for vip in own.at(DATAGRAMS) {
                let error = client::udp_exchange(&pod.netns, vip, b"hello").expect_err("nobody answers");
                ensure!(error.is_refused(), "{vip}: {error}");
            }
            Ok(())
        })
    }

    /// The backend, too, hears that nobody reads its answers any more.
    fn an_answer_that_nobody_reads_is_refused_to_the_backend_s32(builder) {
        builder.test(|cluster| {
            let client = cluster.client(1, "client")?;
            let pod = cluster.client(2, "backend")?;
            let service = Service::new("web", 10);
            cluster.publish(&service, &[Endpoint::of(&pod)])?;
            for (vip, own) in service.at(DATAGRAMS).into_iter().zip(pod.sockets(DATAGRAMS.target)) {
                let server = pod.netns.run(|| std::net::UdpSocket::bind(own))?;
                server.set_read_timeout(Some(PATIENCE))?;
                let asking = UdpClient::open(&client.netns, vip)?;
                asking.socket().send(b"hello")?;
                let (_, from) = uninterrupted(|| server.recv_from(&mut [0; 16])).context("the question")?;
                drop(asking);
                server.connect(from)?;
                server.set_read_timeout(Some(Duration::from_millis(50)))?;
                // A process that another test has just begun to start keeps the client's socket until it runs its program, and
                // an answer finds somebody for so long.
                let error = wait_for("an answer to be refused", PATIENCE, || {
                    let answer = server.send(b"answer");
                    let heard = answer.and_then(|_| uninterrupted(|| server.recv(&mut [0; 16])));
                    heard.err().filter(|error| error.kind() != io::ErrorKind::WouldBlock)
                })?;
                ensure!(error.kind() == io::ErrorKind::ConnectionRefused, "{vip}: {error}");
                // The first answer that found nobody is the one.
                let counters = counters(&client.netns)?;
                let found_nobody = if vip.is_ipv4() { "Udp.NoPorts" } else { "Udp6NoPorts" };
                ensure!(counters.get(found_nobody) == Some(&1), "{vip}: {counters:?}");
            }
            Ok(())
        })
    }

    fn path_mtu_discovery_works_through_a_vip_s32(builder) {
        builder.test(|cluster| {
            let client = cluster.client(1, "client")?;
            let pod = cluster.backend(2, "b")?;
            narrow(&cluster.lab.node(2).netns, &pod)?;
            let service = Service::new("web", 10);
            cluster.publish(&service, &[Endpoint::of(&pod)])?;
            for (vip, own) in service.at(STREAMS).into_iter().zip(pod.addresses()) {
                client::stream(&client.netns, vip, 4 << 20)?;
                ensure!(path_mtu(&client.netns, vip.ip())? == Some(NARROW), "{vip} was told no MTU");
                ensure!(path_mtu(&client.netns, own)?.is_none(), "{own} was told an MTU");
            }
            // Datagrams as well: with the MTU known they come in fragments that fit.
            for vip in service.at(DATAGRAMS) {
                client::udp_exchange(&client.netns, vip, &[7; 20_000])?;
            }
            Ok(())
        })
    }

    /// A datagram that may take one hop, then two, as traceroute sends them: each router answers, then the backend.
    fn each_hop_on_the_way_to_a_vip_answers_s32(builder) {
        builder.test(|cluster| {
            let client = cluster.client(1, "client")?;
            let pod = cluster.backend(2, "b")?;
            let service = Service::new("web", 10);
            cluster.publish(&service, &[Endpoint::of(&pod)])?;
            for vip in service.at(DATAGRAMS) {
                for (hops, expected) in [(1, Some(libc::EHOSTUNREACH)), (2, Some(libc::EHOSTUNREACH)), (3, None)] {
                    let socket = UdpClient::open(&client.netns, vip)?;
                    hear_all_errors(&socket, vip)?;
                    set_hops(&socket, vip, hops)?;
                    let outcome = socket.request(b"hello");
                    let errno = outcome.err().and_then(|error| error.io_kind());
                    let expected = expected.map(|errno| io::Error::from_raw_os_error(errno).kind());
                    ensure!(errno == expected, "{vip} after {hops} hops: {errno:?}");
                }
            }
            Ok(())
        })
    }
}

/// Makes a node's way to a pod narrow: it forwards nothing larger.
fn narrow(node: &Netns, pod: &Pod) -> Result<()> {
    for address in pod.addresses() {
        let address = address.to_string();
        let route = node.ip_output(&["-o", "route", "get", &address])?;
        let mut words = route.split_whitespace();
        words.find(|word| *word == "dev");
        let device = words.next().with_context(|| route.clone())?;
        node.ip(&[format!(
            "route replace {address} dev {device} mtu lock {NARROW}"
        )])?;
    }
    Ok(())
}

/// The path MTU that a namespace was told for an address.
pub(super) fn path_mtu(netns: &Netns, to: IpAddr) -> Result<Option<u32>> {
    let route = netns.ip_output(&["-o", "route", "get", &to.to_string()])?;
    let mut words = route.split_whitespace();
    words.find(|word| *word == "mtu");
    words
        .next()
        .map(|mtu| mtu.parse().with_context(|| route.clone()))
        .transpose()
}

/// Without it a connected socket hears of no expired datagram.
pub(super) fn hear_all_errors(client: &UdpClient, to: SocketAddr) -> io::Result<()> {
    match to {
        SocketAddr::V4(_) => set(client, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        SocketAddr::V6(_) => set(client, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

pub(super) fn set_hops(client: &UdpClient, to: SocketAddr, hops: i32) -> io::Result<()> {
    match to {
        SocketAddr::V4(_) => set(client, libc::IPPROTO_IP, libc::IP_TTL, hops),
        SocketAddr::V6(_) => set(client, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, hops),
    }
}

fn set(client: &UdpClient, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the value lives as long as the call and has the length told.
    let result = unsafe {
        libc::setsockopt(
            client.socket().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
