//! What to change in an ICMP error about a packet that was translated (S-32), and how.
//!
//! Whoever holds the octets writes them directly: an ICMP message's checksum is complete wherever it is met, for no sender
//! leaves it to a device.

use crate::addr::{Address, Endpoint, Port, Protocol};
use crate::packet::icmp::Quoted;
use crate::packet::{OctetsMut, Packet, Parse, Ports, sctp};
use crate::rewrite::Side;
use crate::{checksum, crc32c};

/// What changes in an ICMP error: one end of the packet that it quotes and the port of the other, and the address that stands for
/// the former in the error's own header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Related<A> {
    /// Which end of the quoted packet.
    pub side: Side,
    /// What shall stand there.
    pub to: Endpoint<A>,
    /// The port that shall stand at the other end of the quoted packet, as a rule the one that does.
    pub other_port: Port,
    /// Whether the error's own header gets the address as well: as its source where the quoted destination changes, as its
    /// destination where the quoted source does.
    pub outer: bool,
}

/// Changes an error. None where the frame ends before what was read of it, which can't be.
#[inline(always)]
pub fn relate<A: Parse>(
    octets: &mut (impl OctetsMut + ?Sized),
    error: &Packet<A>,
    quoted: &Quoted<A>,
    related: &Related<A>,
) -> Option<()> {
    let source_at = quoted.l3 + A::SOURCE;
    let (from, address_at) = match related.side {
        Side::Source => (&quoted.source.address, source_at),
        Side::Destination => (&quoted.destination.address, source_at + A::OCTETS),
    };
    let address = difference(from, &related.to.address);
    let old = Ports {
        source: quoted.source.port,
        destination: quoted.destination.port,
    };
    let new = related.side.ports(related.to.port, related.other_port);
    let (old, new) = (old.to_network(), new.to_network());
    let ports = checksum::difference(checksum::words(old), checksum::words(new));

    // By what the sum of the message changes.
    let mut message = ports;
    match A::HEADER_CHECKSUM {
        // The quoted header sums up to the same as before.
        Some(at) => update(octets, quoted.l3 + at, address)?,
        None => message += address,
    }
    if quoted.has_checksum && quoted.protocol == Protocol::Sctp {
        let at = quoted.checksum_at();
        let field = octets.read::<4>(at)?;
        let behind = quoted.l4_len.saturating_sub(sctp::PORTS);
        let updated = crc32c::update(field, old, new, behind as u16);
        octets.write(at, updated)?;
        message += checksum::difference(checksum::words(field), checksum::words(updated));
    } else if quoted.has_checksum {
        let at = quoted.checksum_at();
        let field = octets.read::<2>(at)?;
        let mut updated = checksum::update(field, address + ports);
        if quoted.protocol == Protocol::Udp && updated == [0, 0] {
            updated = [0xff, 0xff];
        }
        octets.write(at, updated)?;
        message += checksum::difference(checksum::word(field), checksum::word(updated));
    }
    octets.write(quoted.l4, new)?;
    related.to.address.write(octets, address_at)?;

    if related.outer {
        let source_at = error.l3 + A::SOURCE;
        let (from, at) = match related.side {
            Side::Source => (&error.destination, source_at + A::OCTETS),
            Side::Destination => (&error.source, source_at),
        };
        let address = difference(from, &related.to.address);
        match A::HEADER_CHECKSUM {
            Some(at) => update(octets, error.l3 + at, address)?,
            // ICMPv6 has a pseudo-header.
            None => message += address,
        }
        related.to.address.write(octets, at)?;
    }
    update(octets, error.l4 + 2, message)
}

#[inline(always)]
fn difference<A: Address>(from: &A, to: &A) -> u32 {
    checksum::difference(from.sum(), to.sum())
}

#[inline(always)]
fn update(octets: &mut (impl OctetsMut + ?Sized), at: usize, difference: u32) -> Option<()> {
    let field = octets.read::<2>(at)?;
    octets.write(at, checksum::update(field, difference))
}
