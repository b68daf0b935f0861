//! Echo reply, the answer to a ping of a VIP (RFC 792, RFC 4443 section 4.2): the request itself, turned round in its place.

use super::{OctetsMut, Packet, Parse};
use crate::checksum;

/// TTL or hop limit of an answer, for it begins its way here.
const HOP_LIMIT: u8 = 64;

/// Whether a request can be answered: all of it is in one packet, and its IP header has no options and no extension headers,
/// some of which (source routes) would say that its destination is but a stage of its way.
#[inline(always)]
pub fn is_answerable<A: Parse>(request: &Packet<A>) -> bool {
    !request.fragment.is_first() && request.l4 == request.l3 + A::HEADER
}

/// Makes the reply out of a request that [`is_answerable`], Ethernet header included. None where the frame ends before its
/// ICMP header.
///
/// The octets are written directly: an ICMP message's checksum is complete wherever it is met, for no sender leaves it to a
/// device.
#[inline(always)]
pub fn reply<A: Parse>(octets: &mut (impl OctetsMut + ?Sized), request: &Packet<A>) -> Option<()> {
    let l4 = request.l3 + A::HEADER;
    let [kind, code, c0, c1] = octets.read::<4>(l4)?;
    let old = checksum::word([kind, code]);
    let new = checksum::word([A::ECHO_REPLY, code]);
    // Source and destination change places, which changes no sum.
    let [c0, c1] = checksum::update([c0, c1], checksum::difference(old, new));
    octets.write(l4, [A::ECHO_REPLY, code, c0, c1])?;

    let hops_at = request.l3 + A::HOP_LIMIT;
    match A::HEADER_CHECKSUM {
        Some(at) => {
            // With the octet that stands beside it.
            let [hops, protocol] = octets.read::<2>(hops_at)?;
            let old = checksum::word([hops, protocol]);
            let new = checksum::word([HOP_LIMIT, protocol]);
            let field = octets.read::<2>(request.l3 + at)?;
            let field = checksum::update(field, checksum::difference(old, new));
            octets.write(request.l3 + at, field)?;
            octets.write(hops_at, [HOP_LIMIT, protocol])?;
        }
        None => octets.write(hops_at, [HOP_LIMIT])?,
    }
    let source_at = request.l3 + A::SOURCE;
    request.destination.write(octets, source_at)?;
    request.source.write(octets, source_at + A::OCTETS)?;

    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = octets.read::<12>(0)?;
    octets.write(0, [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5])
}

#[cfg(test)]
mod tests;
