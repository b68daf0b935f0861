//! SCTP's messages answered with a name, over raw sockets.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use lb_common::packet::sctp::ChunkType;
use tokio::net::UdpSocket;

use super::Identity;
use crate::raw_socket::{RawSocket, payload};
use crate::sctp::{Chunk, Initiation, PROTOCOL, Packet, u32_at};

/// What a client has to find as verification tag, and the number of the server's first DATA chunk. No two of its associations
/// at the same time are between the same ports, so they may be equal.
const OWN: Initiation = Initiation {
    tag: 0x5e_17_e4,
    first: 100,
};

/// One raw socket for each family, and the port that is served.
pub(super) struct Listener {
    sockets: [UdpSocket; 2],
    port: u16,
}

pub(super) fn listen(address: SocketAddr) -> io::Result<Listener> {
    let open = |is_v4| RawSocket::here(is_v4, PROTOCOL)?.into_tokio();
    Ok(Listener {
        sockets: [open(true)?, open(false)?],
        port: address.port(),
    })
}

pub(super) async fn serve(listener: Listener, identity: Identity) {
    let Listener { sockets, port } = listener;
    let [v4, v6] = sockets.map(|socket| serve_family(socket, port, &identity));
    tokio::join!(v4, v6);
}

async fn serve_family(socket: UdpSocket, port: u16, identity: &Identity) {
    let mut associations = Associations::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        // Errors are about earlier packets (a client that is gone): the next may be fine.
        let Ok((count, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let packet = Packet::read(payload(from, &buffer[..count]));
        let Some(packet) = packet.filter(|packet| packet.destination == port) else {
            continue;
        };
        let peer = SocketAddr::new(from.ip(), packet.source);
        if let Some((tag, chunks)) = associations.answer(peer, &packet, identity) {
            let answer = Packet {
                source: port,
                destination: packet.source,
                tag,
                chunks,
            };
            let _ = socket.send_to(&answer.octets(), (from.ip(), 0)).await;
        }
    }
}

/// What the clients of established associations told of themselves.
#[derive(Default)]
struct Associations(HashMap<SocketAddr, Initiation>);

impl Associations {
    /// The tag and the chunks of the answer. A packet with another tag than its association has is passed over (RFC 9260
    /// section 8.5).
    fn answer(
        &mut self,
        peer: SocketAddr,
        packet: &Packet,
        identity: &Identity,
    ) -> Option<(u32, Vec<Chunk>)> {
        if let Some(init) = packet.chunk(ChunkType::INIT) {
            // All that is known of the client is in the cookie: it comes back with COOKIE ECHO (section 5.1.3).
            let client = init.initiated().filter(|_| packet.tag == 0)?;
            let cookie = [client.tag.to_be_bytes(), client.first.to_be_bytes()].concat();
            return Some((client.tag, vec![Chunk::initiation(OWN, Some(&cookie))]));
        }
        if packet.tag != OWN.tag {
            return None;
        }
        if let Some(Chunk { value, .. }) = packet.chunk(ChunkType::COOKIE_ECHO) {
            let client = Initiation {
                tag: u32_at(value, 0)?,
                first: u32_at(value, 4)?,
            };
            self.0.insert(peer, client);
            return Some((client.tag, vec![Chunk::bare(ChunkType::COOKIE_ACK)]));
        }
        if packet.chunk(ChunkType::SHUTDOWN_COMPLETE).is_some() {
            self.0.remove(&peer);
            return None;
        }
        let client = *self.0.get(&peer)?;
        if let Some(data) = packet.chunk(ChunkType::DATA) {
            let (number, message) = data.message().filter(|(n, _)| *n == client.first)?;
            identity.served.fetch_add(1, Ordering::Relaxed);
            let mut answer = format!("{} {peer} ", identity.name).into_bytes();
            answer.extend_from_slice(message);
            let chunks = vec![Chunk::sack(number), Chunk::data(OWN.first, &answer)];
            return Some((client.tag, chunks));
        }
        let shutdown = packet.chunk(ChunkType::SHUTDOWN)?;
        // All that the server sent has arrived.
        shutdown.acknowledged().filter(|n| *n == OWN.first)?;
        Some((client.tag, vec![Chunk::bare(ChunkType::SHUTDOWN_ACK)]))
    }
}
