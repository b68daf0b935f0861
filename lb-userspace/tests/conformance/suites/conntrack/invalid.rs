//! A packet of a connection that is in nobody's window must reach the client with the VIP as its source all the same: from
//! the pod's own address it would be answered by a reset, which ends the connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::client::KeptConnection;
use lab::{Device, PacketSocket};
use lb_common::testing::{Frame, L4};
use serde_json::json;

use crate::case::{Case, Pod};
use crate::traffic::Http;

const PORT: u16 = 9000;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Far from both numbers that a connection begins with, but for a chance of one in ten thousand.
const OUT_OF_WINDOW: u32 = 0x5eed_5eed;

pub fn out_of_window(case: &Case<'_>) -> Result<()> {
    let ports = json!([{ "port": PORT, "targetPort": PORT }]);
    let service = case.service("boom", json!({ "ports": ports }))?;
    let server = case.pod("server").of("boom").on(2).serving(PORT).ready()?;
    let client = case.client_on(1)?;
    client.reaches(Http, &service.at(PORT), &[&server])?;
    for vip in service.at(PORT) {
        let mut connection = KeptConnection::open(&client.netns, vip)?;
        connection.request()?;
        let wire = PacketSocket::open(&client.netns, "eth0")?;
        for _ in 0..3 {
            inject(case, &server, &client, connection.local())?;
        }
        let port = connection.local().port();
        let seen = |octets: &[u8]| segment_of(octets, port);
        let arrived = wire.capture(Duration::from_secs(2), |frame| {
            !frame.outgoing && seen(&frame.bytes).is_some_and(|it| it.sequence == OUT_OF_WINDOW)
        })?;
        let arrived = arrived.with_context(|| format!("nothing came from {vip}"))?;
        let segment = seen(&arrived.bytes).context("a segment")?;
        ensure!(
            segment.source == vip.ip(),
            "it came from {}",
            segment.source
        );
        for _ in 0..3 {
            connection.request()?;
        }
        let resets =
            wire.drain(|frame| seen(&frame.bytes).is_some_and(|segment| segment.flags & RST != 0))?;
        ensure!(resets.is_empty(), "the client has reset its connection");
    }
    Ok(())
}

/// Sends it from the server.
fn inject(case: &Case<'_>, server: &Pod, client: &Pod, to: SocketAddr) -> Result<()> {
    let mut segment = L4::tcp(PORT, to.port(), ACK);
    if let L4::Tcp { sequence, .. } = &mut segment {
        *sequence = OUT_OF_WINDOW;
    }
    let mut octets = match (server.addresses, client.addresses) {
        ([IpAddr::V4(server), _], [IpAddr::V4(client), _]) if to.is_ipv4() => {
            Frame::new(server.octets(), client.octets(), segment).build()
        }
        ([_, IpAddr::V6(server)], [_, IpAddr::V6(client)]) => {
            Frame::new(server.octets(), client.octets(), segment).build()
        }
        addresses => anyhow::bail!("{addresses:?} are not of two families"),
    };
    let node = case.cluster.node(server.node);
    let place = case
        .cluster
        .kubelet(server.node)
        .place(&case.namespace, &server.name)?;
    let gateway = place.host_device.context("a device")?;
    octets[..6].copy_from_slice(&Device::new(&node.netns, &gateway).mac()?);
    octets[6..12].copy_from_slice(&Device::new(&server.netns, "eth0").mac()?);
    PacketSocket::open(&server.netns, "eth0")?.send(&octets)
}

struct Segment {
    source: IpAddr,
    sequence: u32,
    flags: u8,
}

/// The TCP segment in a frame, if it is one from or to a port. Frames here have no options or extension headers.
fn segment_of(octets: &[u8], port: u16) -> Option<Segment> {
    let word = |at: usize| Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?));
    let (source, tcp): (IpAddr, usize) = match word(12)? {
        0x0800 if *octets.get(23)? == 6 => {
            let source: [u8; 4] = octets.get(26..30)?.try_into().ok()?;
            (source.into(), 34)
        }
        0x86dd if *octets.get(20)? == 6 => {
            let source: [u8; 16] = octets.get(22..38)?.try_into().ok()?;
            (source.into(), 54)
        }
        _ => return None,
    };
    let ports = [word(tcp)?, word(tcp + 2)?];
    ports.contains(&port).then_some(Segment {
        source,
        sequence: u32::from_be_bytes(octets.get(tcp + 4..tcp + 8)?.try_into().ok()?),
        flags: *octets.get(tcp + 13)?,
    })
}
