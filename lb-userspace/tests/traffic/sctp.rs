//! SCTP between pods, packet by packet: raw sockets take the part of a kernel that knows it, so that a kernel which does not
//! can run the test. What a socket gets must have the right checksum, which nothing on the way may have had to change.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::FromRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::Pod;
use lb_common::packet::ETHERNET;
use lb_common::packet::sctp::ChunkType;
use lb_common::testing::crc32c::crc32c;
use lb_common::testing::{Frame, L4};

use super::on_both_cnis;

const PATIENCE: Duration = Duration::from_secs(5);
const SCTP: i32 = 132;
/// The port that is served, one whose endpoints have another, and theirs.
const PORTS: [u16; 3] = [2905, 14_001, 14_002];

/// A raw socket in a pod. For IPv4 it gives packets with their IP header, for IPv6 without.
struct Raw(UdpSocket);

impl Raw {
    fn open(pod: &Pod, is_v4: bool, protocol: i32) -> Result<Self> {
        let family = if is_v4 { libc::AF_INET } else { libc::AF_INET6 };
        let socket = pod.netns.run(|| {
            // SAFETY: a call that takes numbers.
            let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
            ensure!(fd >= 0, "{}", std::io::Error::last_os_error());
            // SAFETY: the descriptor was just made and nobody else has it. Of a datagram socket the type is used for nothing but
            // the calls that a raw socket has as well.
            Ok(unsafe { UdpSocket::from_raw_fd(fd) })
        })?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self(socket))
    }

    fn send(&self, to: IpAddr, l4: L4) -> Result<()> {
        let frame = Frame::new([10, 0, 0, 1], [10, 0, 0, 2], l4);
        let octets = &frame.build()[ETHERNET + frame.ip_len()..];
        self.0.send_to(octets, SocketAddr::new(to, 0))?;
        Ok(())
    }

    /// The first message for which `wanted` holds, without an IP header, and who sent it.
    fn receive(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Result<(IpAddr, Vec<u8>)> {
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 2_048];
        while Instant::now() < end {
            let Ok((len, from)) = self.0.recv_from(&mut buffer) else {
                continue;
            };
            let header = if from.is_ipv4() {
                usize::from(buffer[0] & 0xf) * 4
            } else {
                0
            };
            let message = &buffer[header..len];
            if wanted(message) {
                return Ok((from.ip(), message.to_vec()));
            }
        }
        bail!("no {what} within {PATIENCE:?}")
    }

    /// A packet with this chunk between these ports, whose checksum must be right.
    fn expect(&self, from: IpAddr, ports: [u16; 2], chunk: u8) -> Result<()> {
        let head = [ports[0].to_be_bytes(), ports[1].to_be_bytes()].concat();
        let what = format!("chunk {chunk} from {from}");
        let is_it =
            |packet: &[u8]| packet.len() >= 16 && packet[..4] == head && packet[12] == chunk;
        let (source, packet) = self.receive(&what, is_it)?;
        ensure!(source == from, "{what} came from {source}");
        let zeroed = [&packet[..8], &[0; 4], &packet[12..]].concat();
        ensure!(
            crc32c(&zeroed).to_le_bytes() == packet[8..12],
            "{what} has a wrong checksum: {packet:02x?}"
        );
        Ok(())
    }
}

/// An association from its first to its last packet: chunks in their order, and whether the client sends them.
const ASSOCIATION: [(u8, bool); 9] = [
    (ChunkType::INIT, true),
    (ChunkType::INIT_ACK, false),
    (ChunkType::COOKIE_ECHO, true),
    (ChunkType::COOKIE_ACK, false),
    (ChunkType::DATA, true),
    (ChunkType::DATA, false),
    (ChunkType::SHUTDOWN, true),
    (ChunkType::SHUTDOWN_ACK, false),
    (ChunkType::SHUTDOWN_COMPLETE, true),
];

fn associate(client: &Pod, server: &Pod, vip: IpAddr, at: usize) -> Result<()> {
    let [near, far] = [client, server].map(|pod| Raw::open(pod, vip.is_ipv4(), SCTP));
    let (near, far) = (near?, far?);
    let client_address = client.addresses()[at];
    let (port, own) = (PORTS[0], 40_000);
    for (chunk, from_client) in ASSOCIATION {
        if from_client {
            near.send(vip, L4::sctp(own, port, chunk))?;
            far.expect(client_address, [own, port], chunk)?;
        } else {
            far.send(client_address, L4::sctp(port, own, chunk))?;
            near.expect(vip, [port, own], chunk)?;
        }
    }
    Ok(())
}

/// A client that opens an association gets port unreachable, with so much of its INIT that it knows it again.
fn refused(client: &Pod, vip: IpAddr) -> Result<()> {
    let (protocol, kind, ip) = if vip.is_ipv4() {
        (libc::IPPROTO_ICMP, [3, 3], 20)
    } else {
        (libc::IPPROTO_ICMPV6, [1, 4], 40)
    };
    let near = Raw::open(client, vip.is_ipv4(), SCTP)?;
    let errors = Raw::open(client, vip.is_ipv4(), protocol)?;
    near.send(vip, L4::sctp(40_001, PORTS[1], ChunkType::INIT))?;
    let (from, error) = errors.receive("refusal", |message| message[..2] == kind)?;
    ensure!(from == vip, "refused by {from}");
    let quoted = &error[8 + ip..];
    ensure!(quoted.len() == 20, "{} octets are quoted", quoted.len());
    ensure!(
        quoted[16..] == 7_u32.to_be_bytes(),
        "another tag: {quoted:02x?}"
    );
    Ok(())
}

fn manifests(pods: &[&Pod]) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: sgw}}
spec:
  clusterIPs: [\"10.96.0.132\", \"fd00:10:96::132\"]
  ports:
    - {{name: m3ua, protocol: SCTP, port: {}}}
    - {{name: sua, protocol: SCTP, port: {}, targetPort: {}}}
",
        PORTS[0], PORTS[1], PORTS[2]
    );
    for (i, family) in ["IPv4", "IPv6"].iter().enumerate() {
        text += &format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: sgw-{i}, labels: {{kubernetes.io/service-name: sgw}}}}
addressType: {family}
ports:
  - {{name: m3ua, protocol: SCTP, port: {}}}
  - {{name: sua, protocol: SCTP, port: {}}}
endpoints:
",
            PORTS[0], PORTS[2]
        );
        for pod in pods {
            let (address, node) = (pod.addresses()[i], &pod.node);
            text += &format!("  - {{addresses: [\"{address}\"], nodeName: {node}}}\n");
        }
    }
    text
}

on_both_cnis! {
    fn an_association_is_translated_and_a_port_that_cannot_be_is_refused_s2_s30(builder) {
        builder.nodes(2).test(|cluster| {
            let client = cluster.client(1, "client")?;
            let vips: [IpAddr; 2] = ["10.96.0.132".parse()?, "fd00:10:96::132".parse()?];
            for (node, name) in [(1, "near"), (2, "far")] {
                let server = cluster.client(node, name)?;
                cluster.write("sgw.yaml", &manifests(&[&server]))?;
                for (at, vip) in vips.into_iter().enumerate() {
                    eventually(|| refused(&client, vip))?;
                    eventually(|| associate(&client, &server, vip, at))
                        .with_context(|| format!("{vip} on {name}"))?;
                    // The client's port is free again once the association is over.
                    associate(&client, &server, vip, at)?;
                }
            }
            Ok(())
        })
    }
}

/// Until the agent has read the manifests.
fn eventually(check: impl Fn() -> Result<()>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match check() {
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}
