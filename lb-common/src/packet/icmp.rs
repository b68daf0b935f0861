//! ICMP errors (RFC 792, RFC 4443): the packet that one quotes, and so is about.
//!
//! It makes none; that is [`super::unreachable`]'s part.

use super::{Octets, Packet, Parse, Transport, sctp, transport};
use crate::addr::{Endpoint, Port, Protocol};

/// Length of an error's own header, in octets; what it quotes follows.
pub const HEADER: usize = 8;

/// Octets that are looked at at most, from the frame's first one on.
pub const MAX_LOOKED_AT: usize = 600;

const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// The head of a quoted packet of a protocol that is balanced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted<A> {
    /// Offset of the quoted IP header in the frame, in octets.
    pub l3: usize,
    /// Offset of the quoted transport header.
    pub l4: usize,
    /// Where the quoted packet came from.
    pub source: Endpoint<A>,
    /// Where it was sent to.
    pub destination: Endpoint<A>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Length of what followed the quoted IP header when it was sent, by that header's account, in octets; 0 where it does not
    /// say.
    pub l4_len: usize,
    /// Whether its transport checksum is among the quoted octets and can follow a change. Of TCP and SCTP, eight octets are
    /// enough to quote; UDP may have none, and SCTP's follows in whole packets only.
    pub has_checksum: bool,
}

impl<A: Parse> Quoted<A> {
    /// Offset of the quoted transport checksum in the frame, where [`Quoted::has_checksum`] says that there is one.
    #[inline(always)]
    pub fn checksum_at(&self) -> usize {
        self.l4
            + match self.protocol {
                Protocol::Tcp => TCP_CHECKSUM,
                Protocol::Udp => UDP_CHECKSUM,
                Protocol::Sctp => sctp::CHECKSUM,
            }
    }
}

/// Reads what an error quotes, or none where that has no ports: it is cut short, a later fragment, or of another protocol.
#[inline(always)]
pub fn quoted<A: Parse>(octets: &(impl Octets + ?Sized), error: &Packet<A>) -> Option<Quoted<A>> {
    if error.transport != Transport::IcmpError || error.fragment.is_first() {
        return None;
    }
    // Of a sum whose parts it knows, the compiler makes accesses whose bounds the verifier of BPF programs can't follow.
    let l3 = core::hint::black_box(error.l4 + HEADER);
    let header = A::header(octets, l3).ok()?;
    let l4 = core::hint::black_box(header.l4);
    if header.fragment.offset != 0 || l4 + transport::TCP > MAX_LOOKED_AT {
        return None;
    }
    let protocol = match header.protocol {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        _ => return None,
    };
    // Behind the message there may be padding of the link.
    let end = if error.l4_len == 0 {
        MAX_LOOKED_AT
    } else {
        error.l4 + error.l4_len
    };
    if l4 + transport::UDP > end {
        return None;
    }
    let head = octets.read::<{ transport::UDP }>(l4)?;
    let has_checksum = match protocol {
        Protocol::Udp => [head[6], head[7]] != [0, 0],
        Protocol::Tcp => {
            l4 + TCP_CHECKSUM + 2 <= end && octets.read::<2>(l4 + TCP_CHECKSUM).is_some()
        }
        Protocol::Sctp => {
            l4 + sctp::HEADER <= end
                && header.l4_len >= sctp::HEADER
                && !header.fragment.is_first()
                && octets.read::<4>(l4 + sctp::CHECKSUM).is_some()
        }
    };
    Some(Quoted {
        l3,
        l4,
        source: Endpoint {
            address: header.source,
            port: Port::from_network([head[0], head[1]]),
        },
        destination: Endpoint {
            address: header.destination,
            port: Port::from_network([head[2], head[3]]),
        },
        protocol,
        l4_len: header.l4_len,
        has_checksum,
    })
}
