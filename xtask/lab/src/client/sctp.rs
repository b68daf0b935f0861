//! SCTP requests, an association each, over raw sockets. A refusal shows as silence: no kernel is there to hear it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use lb_common::packet::sctp::ChunkType;

use super::answer::identity;
use super::udp::any_of_family;
use super::{ClientError, Response};
use crate::netns::Netns;
use crate::raw_socket::RawSocket;
use crate::sctp::{Chunk, Initiation, PROTOCOL, Packet, SACK};

const OWN: Initiation = Initiation {
    tag: 0xc1_1e_47,
    first: 1,
};

/// One message and its answer over an association of its own, from a port of its own, opened and closed within `timeout`.
///
/// # Errors
/// When a packet of the association does not come, comes from elsewhere, or is something foreign.
pub fn sctp_exchange_within(
    netns: &Netns,
    to: SocketAddr,
    payload: &[u8],
    timeout: Duration,
) -> Result<Response, ClientError> {
    /// No kernel gives out ports: each is another one, until all have been used.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let port = 32_768 + NEXT.fetch_add(1, Ordering::Relaxed) % 28_000;
    sctp_exchange_from(netns, port, to, payload, timeout)
}

/// As [`sctp_exchange_within`], from `port`.
///
/// # Errors
/// As [`sctp_exchange_within`].
pub fn sctp_exchange_from(
    netns: &Netns,
    port: u16,
    to: SocketAddr,
    payload: &[u8],
    timeout: Duration,
) -> Result<Response, ClientError> {
    let start = Instant::now();
    let open = || {
        let route = UdpSocket::bind(any_of_family(to, 0))?;
        route.connect(to)?;
        let socket = RawSocket::here(to.is_ipv4(), PROTOCOL)?;
        Ok((socket, route.local_addr()?.ip()))
    };
    let (socket, own) = netns
        .run(open)
        .map_err(|error| ClientError::connect(to, error))?;
    let local = SocketAddr::new(own, port);
    let peer = Peer {
        socket,
        port,
        to,
        deadline: start + timeout,
    };
    let failed = |error| ClientError::exchange(local, to, error);
    let message = peer.associate(payload).map_err(failed)?;
    match identity(&message) {
        Some((pod, peer, echoed)) if echoed == payload => Ok(Response {
            pod,
            peer,
            payload: echoed,
            local,
            elapsed: start.elapsed(),
        }),
        _ => Err(ClientError::foreign(to, &message)),
    }
}

struct Peer {
    socket: RawSocket,
    port: u16,
    to: SocketAddr,
    deadline: Instant,
}

impl Peer {
    /// An association from its first to its last packet, and what was answered.
    fn associate(&self, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.send(0, Chunk::initiation(OWN, None))?;
        let init_ack = self.expect(ChunkType::INIT_ACK)?;
        let server = self.of(&init_ack, ChunkType::INIT_ACK, Chunk::initiated)?;
        let cookie = self.of(&init_ack, ChunkType::INIT_ACK, Chunk::cookie)?;
        self.send(
            server.tag,
            Chunk::with(ChunkType::COOKIE_ECHO, cookie.to_vec()),
        )?;
        self.expect(ChunkType::COOKIE_ACK)?;
        self.send(server.tag, Chunk::data(OWN.first, payload))?;
        let answer = self.expect(ChunkType::DATA)?;
        let acknowledged = self.of(&answer, SACK, Chunk::acknowledged)?;
        let (number, message) = self.of(&answer, ChunkType::DATA, Chunk::message)?;
        if (acknowledged, number) != (OWN.first, server.first) {
            return Err(io::Error::other(format!(
                "{acknowledged} is acknowledged and {number} sent, not {} and {}",
                OWN.first, server.first
            )));
        }
        self.send(server.tag, Chunk::sack(number))?;
        self.send(server.tag, Chunk::shutdown(number))?;
        self.expect(ChunkType::SHUTDOWN_ACK)?;
        self.send(server.tag, Chunk::bare(ChunkType::SHUTDOWN_COMPLETE))?;
        Ok(message.to_vec())
    }

    fn send(&self, tag: u32, chunk: Chunk) -> io::Result<()> {
        let packet = Packet {
            source: self.port,
            destination: self.to.port(),
            tag,
            chunks: vec![chunk],
        };
        self.socket.send(self.to.ip(), &packet.octets())
    }

    /// The next packet between these ports. It must come from where the client sent to and hold such a chunk.
    fn expect(&self, kind: u8) -> io::Result<Packet> {
        let (from, packet) = self.socket.receive(self.deadline, |from, octets| {
            let ports = [self.to.port().to_be_bytes(), self.port.to_be_bytes()].concat();
            octets
                .starts_with(&ports)
                .then(|| (from, Packet::read(octets)))
        })?;
        let wrong = |what: &str| io::Error::other(format!("waited for chunk {kind}; {what}"));
        let packet = packet.ok_or_else(|| wrong("a packet has a wrong checksum"))?;
        if from != self.to.ip() {
            return Err(wrong(&format!("{packet:?} came from {from}")));
        }
        if packet.tag != OWN.tag || packet.chunk(kind).is_none() {
            return Err(wrong(&format!("{packet:?} came")));
        }
        Ok(packet)
    }

    fn of<'a, T>(
        &self,
        packet: &'a Packet,
        kind: u8,
        read: impl FnOnce(&'a Chunk) -> Option<T>,
    ) -> io::Result<T> {
        let found = packet.chunk(kind).and_then(read);
        found.ok_or_else(|| io::Error::other(format!("{packet:?} has no complete chunk {kind}")))
    }
}
