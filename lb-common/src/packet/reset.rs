//! TCP reset, the answer to an IPv6 client that opens a connection which no endpoint will ever accept (S-30).
//!
//! ICMPv6 would do, and is what every other refused packet gets. But Linux ignores an ICMPv6 error that arrives while the
//! connecting process holds its socket (`tcp_v6_err` in `net/ipv6/tcp_ipv6.c`), which it does while its own SYN is on the
//! way and answered on the same machine: the client would learn of it a second later, from its second try. A segment is
//! kept for the socket until the process lets go of it.

use super::{Octets, Packet, TcpFlags, Transport, ipv6, transport};
use crate::addr::Protocol;
use crate::checksum;

/// Length of an IPv6 header and a TCP header without options, in octets: the whole reset.
pub const HEADERS: usize = ipv6::HEADER + transport::TCP;

const HOP_LIMIT: u8 = 64;

/// What a reset must know of the segment that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// The sequence number that follows the segment.
    next: u32,
    /// Whether the device that sends the packet will complete the checksum field.
    left_to_device: bool,
    /// Source and destination port of the answer, as the packet will hold them.
    ports: [u8; 4],
}

/// Reads the segment of a packet, or none where a reset is not the answer to it: it opens no connection, or is cut short.
#[inline(always)]
pub fn opening(octets: &(impl Octets + ?Sized), packet: &Packet<[u8; 16]>) -> Option<Opening> {
    let Transport::Tcp(_, flags) = packet.transport else {
        return None;
    };
    if !flags.opens() {
        return None;
    }
    let segment = octets.read::<{ transport::TCP }>(packet.l4)?;
    let sequence = [segment[4], segment[5], segment[6], segment[7]];
    let header_len = (segment[12] >> 4) as usize * 4;
    // SYN and FIN count as an octet each (RFC 9293 section 3.4).
    let len = packet.l4_len.saturating_sub(header_len) as u32 + 1 + flags.fin() as u32;
    // As `unreachable::quote` has it: only the value tells a checksum that is still to be completed.
    let pseudo = checksum::pseudo_header(
        &packet.source,
        &packet.destination,
        packet.l4_len as u16,
        Protocol::Tcp.number(),
    );
    Some(Opening {
        next: u32::from_be_bytes(sequence).wrapping_add(len),
        left_to_device: !packet.fragment.is_first()
            && u16::from_ne_bytes([segment[16], segment[17]]) == checksum::fold(pseudo),
        ports: [segment[2], segment[3], segment[0], segment[1]],
    })
}

/// Makes the reset, from the refused destination to the source: `<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>` (RFC 9293 section
/// 3.10.7.1). Where the refused segment left its checksum to the device, so does the reset, for it is the same buffer.
#[inline(always)]
pub fn headers(refused: &Packet<[u8; 16]>, opening: &Opening, headers: &mut [u8; HEADERS]) {
    *headers = [0; HEADERS];
    let tcp_len = transport::TCP as u16;
    headers[0] = 0x60;
    headers[5] = tcp_len as u8;
    headers[6] = Protocol::Tcp.number();
    headers[7] = HOP_LIMIT;
    super::put(headers, 8, &refused.destination);
    super::put(headers, 24, &refused.source);

    let acknowledgment = opening.next.to_be_bytes();
    const OFFSET_AND_FLAGS: [u8; 2] = [5 << 4, TcpFlags::RST | TcpFlags::ACK];
    super::put(headers, 40, &opening.ports);
    super::put(headers, 48, &acknowledgment);
    super::put(headers, 52, &OFFSET_AND_FLAGS);
    let pseudo = checksum::pseudo_header(
        &refused.destination,
        &refused.source,
        tcp_len,
        Protocol::Tcp.number(),
    );
    let checksum = if opening.left_to_device {
        checksum::fold(pseudo)
    } else {
        let [p0, p1, p2, p3] = opening.ports;
        let [a0, a1, a2, a3] = acknowledgment;
        !checksum::fold(
            pseudo
                + checksum::word([p0, p1])
                + checksum::word([p2, p3])
                + checksum::word([a0, a1])
                + checksum::word([a2, a3])
                + checksum::word(OFFSET_AND_FLAGS),
        )
    };
    super::put(headers, 56, &checksum.to_ne_bytes());
}

#[cfg(test)]
mod tests;
