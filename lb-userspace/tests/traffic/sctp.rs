//! SCTP between pods, by raw packets on both sides, so that a kernel which does not know it can run the test. What a peer takes
//! has the right checksum, which nothing on the way may have had to change.

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
/// The port that is served, one whose endpoints have another, and theirs.
const PORTS: [u16; 3] = [2905, 14_001, 14_002];

/// An association from its first to its last packet, from the same port each time.
fn associate(client: &Pod, server: &Pod, vip: IpAddr) -> Result<()> {
    let to = SocketAddr::new(vip, PORTS[0]);
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
    let init = L4::sctp(40_001, PORTS[1], ChunkType::INIT);
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
                server.serve_sctp(PORTS[0])?;
                for vip in vips {
                    eventually(|| refused(&client, vip))?;
                    eventually(|| associate(&client, &server, vip))
                        .with_context(|| format!("{vip} on {name}"))?;
                    // The client's port is free again once the association is over.
                    associate(&client, &server, vip)?;
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
