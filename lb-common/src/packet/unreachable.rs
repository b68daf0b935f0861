//! ICMP port unreachable, the answer to a packet that no endpoint will ever answer (S-30).
//!
//! The answer quotes the refused packet's IP header and the head of its transport header. Here only the new headers are
//! made, from sums over the quoted octets: who holds the octets moves them.

use super::sctp::{self, QUOTED_OF_INIT};
use super::{Malformed, Octets, Packet, Parse, Transport, ipv4, ipv6};
use crate::checksum;

/// Length of an ICMP error's own header, in octets.
const ICMP: usize = 8;
/// Length of an IPv4 and an ICMP header, in octets.
pub const IPV4_HEADERS: usize = ipv4::HEADER + ICMP;
/// Length of an IPv6 and an ICMPv6 header, in octets.
pub const IPV6_HEADERS: usize = ipv6::HEADER + ICMP;

/// Octets that can be quoted at most.
pub const MAX_QUOTED: usize = 256;

const HOP_LIMIT: u8 = 64;

/// What is quoted of a packet: its length, and the sum of its 16-bit words as the client will see them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Octets from the IP header on; a multiple of four.
    pub len: usize,
    /// Unfolded sum.
    pub sum: u32,
}

/// Measures what to quote of a packet: IP header, options or extension headers, and a whole TCP, UDP, SCTP or echo header (RFC 792
/// demands eight octets of it, and a segment whose checksum is still to be filled in can't be cut before that field); of
/// SCTP's INIT as much as its sender wants to see.
#[inline(always)]
pub fn quote<A: Parse>(
    octets: &(impl Octets + ?Sized),
    packet: &Packet<A>,
) -> Result<Quote, Malformed> {
    let (transport_len, checksum_at, protocol) = match packet.transport {
        Transport::Tcp(..) => (20, 16, 6),
        Transport::Udp(..) => (8, 6, 17),
        Transport::Sctp(_, flags) => return quote_sctp(octets, packet, flags.opens()),
        Transport::EchoRequest => return quote_echo(octets, packet),
        Transport::Fragment | Transport::IcmpError | Transport::Other(_) => return Err(Malformed),
    };
    let mut quote = quote_head(octets, packet, transport_len)?;
    let mut transport_sum = octets.sum(packet.l4, transport_len).ok_or(Malformed)?;
    // A checksum that the sender left to the device holds the sum of the pseudo-header, and the octets will be changed on
    // their way out so that they sum up to its complement. Whether that is so can be seen only by this value. Of a datagram
    // in fragments no device could complete it.
    let field = octets.read::<2>(packet.l4 + checksum_at).ok_or(Malformed)?;
    let pseudo = checksum::fold(checksum::pseudo_header(
        &packet.source,
        &packet.destination,
        packet.l4_len as u16,
        protocol,
    ));
    if !packet.fragment.is_first() && u16::from_ne_bytes(field) == pseudo {
        transport_sum = !pseudo;
    }
    quote.sum += transport_sum as u32;
    Ok(quote)
}

/// As [`quote`]. No sender leaves the checksum of an ICMP message to a device.
#[inline(always)]
fn quote_echo<A: Parse>(
    octets: &(impl Octets + ?Sized),
    packet: &Packet<A>,
) -> Result<Quote, Malformed> {
    let mut quote = quote_head(octets, packet, ICMP)?;
    quote.sum += octets.sum(packet.l4, ICMP).ok_or(Malformed)? as u32;
    Ok(quote)
}

/// As [`quote`]. A checksum that is left to the device is zero until the octets that are left of the packet, which are those
/// that are quoted, are summed up.
#[inline(always)]
fn quote_sctp<A: Parse>(
    octets: &(impl Octets + ?Sized),
    packet: &Packet<A>,
    opens: bool,
) -> Result<Quote, Malformed> {
    // One without a tag is no INIT that anybody waits for.
    let opens = opens && (packet.l4_len == 0 || packet.l4_len >= QUOTED_OF_INIT);
    let transport_len = if opens { QUOTED_OF_INIT } else { sctp::HEADER };
    let mut quote = quote_head(octets, packet, transport_len)?;
    quote.sum += octets.sum(packet.l4, transport_len).ok_or(Malformed)? as u32;
    let field = octets
        .read::<4>(packet.l4 + sctp::CHECKSUM)
        .ok_or(Malformed)?;
    if !packet.fragment.is_first() && field == [0; 4] {
        let [a, b, c, d] = if opens {
            sctp::checksum(&octets.read::<QUOTED_OF_INIT>(packet.l4).ok_or(Malformed)?)
        } else {
            sctp::checksum(
                &octets
                    .read::<{ sctp::HEADER }>(packet.l4)
                    .ok_or(Malformed)?,
            )
        };
        quote.sum += checksum::word([a, b]) + checksum::word([c, d]);
    }
    Ok(quote)
}

/// The length of a quote with so many octets behind the IP header, and the sum of what goes before them.
#[inline(always)]
fn quote_head<A: Parse>(
    octets: &(impl Octets + ?Sized),
    packet: &Packet<A>,
    transport_len: usize,
) -> Result<Quote, Malformed> {
    let ip_len = packet.l4 - packet.l3;
    let len = ip_len + transport_len;
    if len > MAX_QUOTED {
        return Err(Malformed);
    }
    let sum = octets.sum(packet.l3, ip_len).ok_or(Malformed)?;
    Ok(Quote {
        len,
        sum: sum as u32,
    })
}

/// Makes the IPv4 and ICMP headers of an answer from the refused destination to the source: type 3, code 3 (RFC 792).
#[inline(always)]
pub fn ipv4_headers(refused: &Packet<[u8; 4]>, quote: &Quote, headers: &mut [u8; IPV4_HEADERS]) {
    *headers = [0; IPV4_HEADERS];
    let total_len = ((IPV4_HEADERS + quote.len) as u16).to_be_bytes();
    headers[0] = 0x45;
    // Internetwork control, as the kernel marks its own errors (RFC 1812 section 4.3.2.5).
    headers[1] = 0xc0;
    headers[2] = total_len[0];
    headers[3] = total_len[1];
    headers[8] = HOP_LIMIT;
    headers[9] = 1;
    super::put(headers, 12, &refused.destination);
    super::put(headers, 16, &refused.source);
    let mut sum = 0;
    let mut at = 0;
    while at < ipv4::HEADER {
        sum += checksum::word([headers[at], headers[at + 1]]);
        at += 2;
    }
    let checksum = (!checksum::fold(sum)).to_ne_bytes();
    headers[10] = checksum[0];
    headers[11] = checksum[1];

    headers[20] = 3;
    headers[21] = 3;
    let checksum = (!checksum::fold(checksum::word([3, 3]) + quote.sum)).to_ne_bytes();
    headers[22] = checksum[0];
    headers[23] = checksum[1];
}

/// Makes the IPv6 and ICMPv6 headers of an answer from the refused destination to the source: type 1, code 4 (RFC 4443).
#[inline(always)]
pub fn ipv6_headers(refused: &Packet<[u8; 16]>, quote: &Quote, headers: &mut [u8; IPV6_HEADERS]) {
    const ICMPV6: u8 = 58;
    *headers = [0; IPV6_HEADERS];
    let payload_len = ((ICMP + quote.len) as u16).to_be_bytes();
    headers[0] = 0x60;
    headers[4] = payload_len[0];
    headers[5] = payload_len[1];
    headers[6] = ICMPV6;
    headers[7] = HOP_LIMIT;
    super::put(headers, 8, &refused.destination);
    super::put(headers, 24, &refused.source);

    headers[40] = 1;
    headers[41] = 4;
    let len = (ICMP + quote.len) as u16;
    let pseudo = checksum::pseudo_header(&refused.destination, &refused.source, len, ICMPV6);
    let sum = pseudo + checksum::word([1, 4]) + quote.sum;
    let checksum = (!checksum::fold(sum)).to_ne_bytes();
    headers[42] = checksum[0];
    headers[43] = checksum[1];
}

#[cfg(test)]
mod tests;
