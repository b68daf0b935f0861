//! The frames that are run: TCP segments without data between clients' pods, VIPs and other pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::packet::TcpFlags;
use lb_common::testing::{Frame, L4};

use super::case::{Direction, Flows, Hot, Packets};
use super::pods;
use super::services::PORT;

/// Ports of a client before the next address is one.
const PORTS: u32 = 28_000;
/// The last of the pods that are no clients and no backends.
const OTHER: u32 = u16::MAX as u32;

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;

/// What makes an established flow: the client opens a connection, is answered, and goes on.
pub const OPENING: [(Direction, u8); 3] = [
    (Direction::FromPod, SYN),
    (Direction::ToPod, SYN | ACK),
    (Direction::FromPod, ACK),
];

/// An address family; its number is an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4 = 0,
    V6 = 1,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// A packet of a case, of a client that speaks to a VIP.
pub fn packet(packets: Packets, client: u32, vip: IpAddr) -> Vec<u8> {
    match packets {
        Packets::Hot(direction, Hot::Established) => segment(client, vip, ACK, direction),
        Packets::Redirected => pods::packet(vip),
        Packets::Hot(direction, Hot::Unrelated) => {
            segment(0, pod(&vip, OTHER - client), ACK, direction)
        }
        Packets::Loop(Flows::Established(_)) | Packets::Fresh(Flows::Established(_)) => {
            segment(client, vip, ACK, Direction::FromPod)
        }
        Packets::Loop(Flows::New) | Packets::Fresh(Flows::New) => {
            segment(client, vip, SYN, Direction::FromPod)
        }
    }
}

/// A segment between a client, by its number, and somebody's port.
pub fn segment(client: u32, peer: IpAddr, flags: u8, direction: Direction) -> Vec<u8> {
    let port = 32_768 + (client % PORTS) as u16;
    let l4 = L4::tcp(port, PORT, flags);
    let is_answer = direction == Direction::ToPod;
    match (self::client(&peer, client), peer) {
        (IpAddr::V4(pod), IpAddr::V4(peer)) => {
            let frame = Frame::new(pod.octets(), peer.octets(), l4);
            if is_answer { frame.reversed() } else { frame }.build()
        }
        (IpAddr::V6(pod), IpAddr::V6(peer)) => {
            let frame = Frame::new(pod.octets(), peer.octets(), l4);
            if is_answer { frame.reversed() } else { frame }.build()
        }
        (pod, peer) => unreachable!("{pod} and {peer} are of different families"),
    }
}

/// A client's address, by the client's number.
pub fn client(peer: &IpAddr, number: u32) -> IpAddr {
    pod(peer, number / PORTS)
}

/// A pod's address, of the same family as its peer's.
fn pod(peer: &IpAddr, number: u32) -> IpAddr {
    match peer {
        IpAddr::V4(_) => Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 244, 0, 1)) + number).into(),
        IpAddr::V6(_) => {
            let first = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 1);
            Ipv6Addr::from(u128::from(first) + u128::from(number)).into()
        }
    }
}
