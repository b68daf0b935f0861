//! Traffic that is for no Service is not touched, however odd it is.

use std::time::Duration;

use anyhow::Result;
use lab::{Cni, PacketSocket, client};
use lb_common::packet::Parse;
use lb_common::testing::{Frame, L4, Numbered, Part, Random};

use super::cluster::{Cluster, DATAGRAMS, HTTP, STREAMS};
use super::on_both_cnis;

on_both_cnis! {
    /// The same pods serve the same ports to those who know their addresses.
    fn pods_reach_pods_beside_the_vip(builder) {
        builder.test(|cluster| {
            let services = cluster.near_and_far()?;
            let client = cluster.client(1, "client")?;
            for (service, pod) in &services {
                for (vip, own) in service.at(HTTP).into_iter().zip(pod.sockets(HTTP.target)) {
                    client::http_get(&client.netns, vip)?;
                    let answer = client::http_get(&client.netns, own)?;
                    assert_eq!((&answer.pod, answer.peer), (&pod.name, answer.local));
                }
                for own in pod.sockets(DATAGRAMS.target) {
                    let answer = client::udp_exchange(&client.netns, own, b"x")?;
                    assert_eq!((&answer.pod, answer.peer), (&pod.name, answer.local));
                }
                for own in pod.sockets(STREAMS.target) {
                    client::stream(&client.netns, own, 1 << 20)?;
                }
                for address in pod.addresses() {
                    let mut ping = client.netns.command("ping");
                    let words = ["-c", "2", "-i", "0.01", "-W", "2", &address.to_string()];
                    let output = ping.args(words).output()?;
                    assert!(output.status.success(), "ping {address}: {output:?}");
                }
            }
            Ok(())
        })
    }
}

/// On a bridge a frame between two pods arrives as it was sent, unless a program on their devices changes it. These are
/// for an Ethernet address that nobody has: every pod's device gets them, and no pod judges their checksums.
#[test]
fn odd_frames_arrive_octet_by_octet() -> Result<()> {
    Cluster::builder().cni(Cni::Bridge).test(|cluster| {
        let services = cluster.near_and_far()?;
        let sender = cluster.client(1, "sender")?;
        let receiver = cluster.client(1, "receiver")?;
        for (service, _) in &services {
            for vip in service.at(HTTP) {
                client::http_get(&sender.netns, vip)?;
            }
        }
        // Where the kernel has it, netfilter checks IP headers on bridges, and drops what does not hold.
        for hook in ["iptables", "ip6tables", "arptables"] {
            let key = format!("bridge/bridge-nf-call-{hook}");
            let node = &cluster.lab.node(1).netns;
            if node.sysctl(&key).is_ok() {
                node.set_sysctls(&[(&key, "0")])?;
            }
        }
        let out = PacketSocket::open(&sender.netns, "eth0")?;
        let wire = PacketSocket::open(&receiver.netns, "eth0")?;
        let frames = [
            odd_frames::<[u8; 4]>(),
            odd_frames::<[u8; 16]>(),
            strange_frames(),
        ];
        for frame in frames.concat() {
            out.send(&frame)?;
            let arrived = wire.capture(Duration::from_secs(2), |got| got.bytes == frame)?;
            assert!(arrived.is_some(), "lost or changed: {frame:02x?}");
        }
        Ok(())
    })
}

/// Packets of one family that a pod may send to a pod, and some to a VIP that can't be balanced.
fn odd_frames<A: Parse + Numbered>() -> Vec<Vec<u8>> {
    const SYN: u8 = 0x02;
    const ALL_FLAGS: u8 = 0xff;
    let (pod, vip) = (A::pod(77), A::vip(1));
    let to_pod = |l4| Frame::new(A::pod(66), pod, l4);
    let to_vip = |l4| Frame::new(A::pod(66), vip, l4);
    let other = |protocol| L4::Other {
        protocol,
        payload: vec![0xa5; 40],
    };
    let segment = L4::tcp(40_000, HTTP.port, SYN);
    let datagram = L4::udp(40_000, DATAGRAMS.port, &[0x5a; 64]);
    let part = |mut frame: Frame<A>, offset, more| {
        frame.ip.part = Some(Part {
            identification: 7,
            offset,
            more,
        });
        frame
    };
    let mut unsummed = L4::udp(40_000, 9, b"no checksum");
    if let L4::Udp { checksum, .. } = &mut unsummed {
        *checksum = false;
    }
    let mut frames = vec![
        to_pod(segment.clone()),
        to_pod(L4::tcp(0, 0, ALL_FLAGS)),
        to_pod(L4::tcp(HTTP.target, 40_000, ALL_FLAGS)),
        to_pod(unsummed),
        part(to_pod(datagram.clone()), 0, true),
        part(to_pod(datagram.clone()), 64, false),
    ];
    frames.push(to_pod(L4::sctp(40_000, HTTP.target, 1)));
    // GRE, ESP, UDP-Lite, nothing at all, and one for experiments (RFC 3692).
    for protocol in [47, 50, 136, 59, 253] {
        frames.extend([to_pod(other(protocol)), to_vip(other(protocol))]);
    }
    let mut expired = to_pod(segment.clone());
    expired.ip.ttl = 0;
    frames.push(expired);
    let mut built: Vec<Vec<u8>> = frames.iter().map(Frame::build).collect();
    for whole in [to_pod(segment.clone()), to_vip(segment), to_vip(datagram)] {
        let octets = whole.build();
        let headers = octets.len().min(14 + whole.ip_len());
        // Cut behind the ports, among them, and within the IP header.
        built.extend([headers + 6, headers + 2, headers - 1].map(|len| octets[..len].to_vec()));
    }
    let mut wrong_sum = to_pod(L4::udp(1, 2, b"wrong")).build();
    *wrong_sum.last_mut().expect("a frame has octets") ^= 0xff;
    built.push(wrong_sum);
    built
}

/// Frames that are no IP, or only say so.
fn strange_frames() -> Vec<Vec<u8>> {
    let mut random = Random::new(1);
    let mut frames = Vec::new();
    for kind in [0x0806_u16, 0x88b5, 0x0800, 0x86dd] {
        for len in [1, 19, 20, 39, 40, 60, 200] {
            let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            frame.extend(kind.to_be_bytes());
            frame.extend(random.octets(len));
            frames.push(frame);
        }
    }
    frames
}
