//! SCTP between pods, by raw packets on both sides, so that a kernel which does not know it can run the test. What a peer takes
//! has the right checksum, which has followed the port where that was translated.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::client::sctp_exchange_from;
use lab::{Pod, RawSocket};
use lb_common::packet::ETHERNET;
use lb_common::packet::sctp::ChunkType;
use lb_common::testing::{Frame, L4};

use super::on_both_cnis;

const PATIENCE: Duration = Duration::from_secs(5);
const SCTP: i32 = 132;
/// A port that pods serve under its own number, one that they serve as another, and one that nobody serves.
const M3UA: u16 = 2905;
const SUA: [u16; 2] = [14_001, 14_002];
const NOBODYS: u16 = 14_003;

/// An association from its first to its last packet, from the same port each time.
fn associate(client: &Pod, server: &Pod, vip: IpAddr, port: u16) -> Result<()> {
    let to = SocketAddr::new(vip, port);
    let answer = sctp_exchange_from(&client.netns, 40_000, to, b"m3ua", PATIENCE)?;
    ensure!(answer.pod == server.name, "{} has answered", answer.pod);
    ensure!(answer.peer == answer.local, "{answer:?}");
    Ok(())
}

/// A client that opens an association gets port unreachable, with so much of its INIT that it knows it again.
fn refused(client: &Pod, vip: IpAddr) -> Result<()> {
    let (protocol, kind, ip) = if vip.is_ipv4() {
        (libc::IPPROTO_ICMP, [3, 3], 20)
    } else {
        (libc::IPPROTO_ICMPV6, [1, 4], 40)
    };
    let near = RawSocket::open(&client.netns, vip.is_ipv4(), SCTP)?;
    let errors = RawSocket::open(&client.netns, vip.is_ipv4(), protocol)?;
    let init = L4::sctp(40_001, NOBODYS, ChunkType::INIT);
    let frame = Frame::new([10, 0, 0, 1], [10, 0, 0, 2], init);
    near.send(vip, &frame.build()[ETHERNET + frame.ip_len()..])?;
    let deadline = Instant::now() + PATIENCE;
    let refusal = errors.receive(deadline, |from, message| {
        let is_it = message.starts_with(&kind);
        is_it.then(|| (from, message.to_vec()))
    });
    let (from, error) = refusal.context("no refusal")?;
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
    - {{name: m3ua, protocol: SCTP, port: {M3UA}}}
    - {{name: sua, protocol: SCTP, port: {}, targetPort: {}}}
    - {{name: sgsap, protocol: SCTP, port: {NOBODYS}}}
",
        SUA[0], SUA[1]
    );
    for (i, family) in ["IPv4", "IPv6"].iter().enumerate() {
        text += &format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: sgw-{i}, labels: {{kubernetes.io/service-name: sgw}}}}
addressType: {family}
ports:
  - {{name: m3ua, protocol: SCTP, port: {M3UA}}}
  - {{name: sua, protocol: SCTP, port: {}}}
endpoints:
",
            SUA[1]
        );
        for pod in pods {
            let (address, node) = (pod.addresses()[i], &pod.node);
            text += &format!("  - {{addresses: [\"{address}\"], nodeName: {node}}}\n");
        }
    }
    text
}

on_both_cnis! {
    fn an_association_is_translated_with_or_without_its_port_s2_s3_s30(builder) {
        builder.nodes(2).test(|cluster| {
            let client = cluster.client(1, "client")?;
            let vips: [IpAddr; 2] = ["10.96.0.132".parse()?, "fd00:10:96::132".parse()?];
            for (node, name) in [(1, "near"), (2, "far")] {
                let server = cluster.client(node, name)?;
                cluster.write("sgw.yaml", &manifests(&[&server]))?;
                server.serve_sctp(M3UA)?;
                server.serve_sctp(SUA[1])?;
                for vip in vips {
                    eventually(|| refused(&client, vip))?;
                    for port in [M3UA, SUA[0]] {
                        eventually(|| associate(&client, &server, vip, port))
                            .with_context(|| format!("{vip}, port {port} on {name}"))?;
                        // The client's port is free again once the association is over.
                        associate(&client, &server, vip, port)?;
                    }
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
