//! What to change in a packet, and how a host changes it.
//!
//! A [`Rewrite`] says what, [`Rewrite::edits`] turns it into offsets and checksum differences for one packet. How the
//! edits reach the packet is up to the hook: the BPF programs have helpers for it, the host writes the octets.

mod error;

use crate::addr::{Endpoint, Port};
use crate::packet::{Packet, Parse, Ports, Transport, sctp};
use crate::{checksum, crc32c};

pub use error::{Related, relate};

/// Which end of a packet changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
}

impl Side {
    /// The ports of a packet that has `port` at this end and `other` at the other one.
    #[inline(always)]
    fn ports(self, port: Port, other: Port) -> Ports {
        let (source, destination) = match self {
            Self::Source => (port, other),
            Self::Destination => (other, port),
        };
        Ports {
            source,
            destination,
        }
    }
}

/// One end of a packet gets another address and port, the other end another port. What stands there is the packet's own to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewrite<A> {
    /// Which end.
    pub side: Side,
    /// What shall stand there.
    pub to: Endpoint<A>,
    /// The port that shall stand at the other end, as a rule the one that does.
    pub other_port: Port,
}

/// A rewrite as it applies to one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edits<A> {
    /// Offset of the address in the frame.
    pub address_at: usize,
    /// The new address.
    pub address: A,
    /// Offset of the IP header's checksum in the frame, where the family has one.
    pub ip_checksum_at: Option<usize>,
    /// What the change of address adds to the sums of the IP header and of the pseudo-header.
    pub address_difference: u32,
    /// Whether the transport header has an Internet checksum, which covers addresses and ports: a later fragment has none, and
    /// SCTP has another one.
    pub has_checksum: bool,
    /// Of an SCTP packet, the number of octets behind the ports, which a CRC32c covers; 0 of every other.
    pub covered_by_crc: u16,
    /// What changes in the transport header, all zeros where nothing does. It is no `Option`, so that every octet is always
    /// defined, as in a [`Verdict`](crate::pipeline::Verdict).
    pub transport: TransportEdits,
}

/// A rewrite as it applies to one transport header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransportEdits {
    /// Offset of the ports in the frame.
    pub ports_at: usize,
    /// The old and the new ports as octets of the packet.
    pub ports: ([u8; 4], [u8; 4]),
    /// Offset of the checksum in the frame. It covers the whole datagram, so that of the fragments the first alone has it.
    pub checksum_at: usize,
    /// Whether a checksum of zero means that there is none (UDP, RFC 768).
    pub checksum_optional: bool,
}

impl TransportEdits {
    const NONE: Self = Self {
        ports_at: 0,
        ports: ([0; 4], [0; 4]),
        checksum_at: 0,
        checksum_optional: false,
    };

    /// Whether a port changes; often only the address does.
    #[inline(always)]
    pub fn ports_change(&self) -> bool {
        self.ports.0 != self.ports.1
    }

    /// The sums of the old and of the new ports.
    #[inline(always)]
    pub fn port_sums(&self) -> (u32, u32) {
        (checksum::words(self.ports.0), checksum::words(self.ports.1))
    }
}

impl<A> Edits<A> {
    /// The CRC32c of an SCTP packet after a change of its ports, from the one before.
    #[inline(always)]
    pub fn updated_crc(&self, field: [u8; 4]) -> [u8; 4] {
        let (old, new) = self.transport.ports;
        crc32c::update(field, old, new, self.covered_by_crc)
    }
}

impl<A: Parse> Rewrite<A> {
    /// Makes a packet that was rewritten what can now be read of it.
    #[inline(always)]
    pub fn renew(&self, packet: &mut Packet<A>) {
        match &mut packet.transport {
            Transport::Tcp(ports, _) | Transport::Udp(ports) | Transport::Sctp(ports, _) => {
                *ports = self.side.ports(self.to.port, self.other_port);
            }
            Transport::Fragment => {}
            Transport::EchoRequest | Transport::IcmpError | Transport::Other(_) => return,
        }
        match self.side {
            Side::Source => packet.source = self.to.address,
            Side::Destination => packet.destination = self.to.address,
        }
    }

    /// The edits that carry the rewrite out on a packet, or none where the packet carries nothing that is balanced.
    #[inline(always)]
    pub fn edits(&self, packet: &Packet<A>) -> Option<Edits<A>> {
        let transport = match packet.transport {
            Transport::Tcp(ports, _) => self.transport(packet.l4, &ports, 16, false),
            Transport::Udp(ports) => self.transport(packet.l4, &ports, 6, true),
            Transport::Sctp(ports, _) => self.transport(packet.l4, &ports, sctp::CHECKSUM, false),
            Transport::Fragment => TransportEdits::NONE,
            Transport::EchoRequest | Transport::IcmpError | Transport::Other(_) => return None,
        };
        let (address_at, from) = match self.side {
            Side::Source => (packet.l3 + A::SOURCE, &packet.source),
            Side::Destination => (packet.l3 + A::SOURCE + A::OCTETS, &packet.destination),
        };
        Some(Edits {
            address_at,
            address: self.to.address,
            ip_checksum_at: A::HEADER_CHECKSUM.map(|at| packet.l3 + at),
            address_difference: checksum::difference(from.sum(), self.to.address.sum()),
            has_checksum: matches!(packet.transport, Transport::Tcp(..) | Transport::Udp(_)),
            covered_by_crc: match packet.transport {
                Transport::Sctp(..) => packet.l4_len.saturating_sub(sctp::PORTS) as u16,
                _ => 0,
            },
            transport,
        })
    }

    #[inline(always)]
    fn transport(
        &self,
        l4: usize,
        ports: &Ports,
        checksum: usize,
        checksum_optional: bool,
    ) -> TransportEdits {
        let new = self.side.ports(self.to.port, self.other_port);
        TransportEdits {
            ports_at: l4,
            ports: (ports.to_network(), new.to_network()),
            checksum_at: l4 + checksum,
            checksum_optional,
        }
    }
}

/// Carries out a rewrite on the octets of a frame whose checksums are complete. Octets beyond the frame's end are not
/// touched: a packet that parsed has all of them.
#[cfg(any(test, feature = "std"))]
pub fn apply<A: Parse>(frame: &mut [u8], packet: &Packet<A>, rewrite: &Rewrite<A>) {
    let Some(edits) = rewrite.edits(packet) else {
        return;
    };
    if let Some(at) = edits.ip_checksum_at {
        update(frame, at, edits.address_difference);
    }
    frame[edits.address_at..][..A::OCTETS].copy_from_slice(bytemuck::bytes_of(&edits.address));
    if edits.covered_by_crc != 0 {
        let transport = &edits.transport;
        let field = &mut frame[transport.checksum_at..][..4];
        let updated = edits.updated_crc([field[0], field[1], field[2], field[3]]);
        field.copy_from_slice(&updated);
        frame[transport.ports_at..][..sctp::PORTS].copy_from_slice(&transport.ports.1);
    }
    if edits.has_checksum {
        apply_to_transport(frame, &edits.transport, edits.address_difference);
    }
}

#[cfg(any(test, feature = "std"))]
fn apply_to_transport(frame: &mut [u8], edits: &TransportEdits, address_difference: u32) {
    let (old, new) = edits.port_sums();
    let difference = address_difference + checksum::difference(old, new);
    let absent = edits.checksum_optional && frame[edits.checksum_at..][..2] == [0, 0];
    if !absent {
        update(frame, edits.checksum_at, difference);
        if edits.checksum_optional && frame[edits.checksum_at..][..2] == [0, 0] {
            // A computed zero is sent as its other form (RFC 768).
            frame[edits.checksum_at..][..2].copy_from_slice(&[0xff, 0xff]);
        }
    }
    frame[edits.ports_at..][..4].copy_from_slice(&edits.ports.1);
}

#[cfg(any(test, feature = "std"))]
fn update(frame: &mut [u8], at: usize, difference: u32) {
    let field = [frame[at], frame[at + 1]];
    frame[at..][..2].copy_from_slice(&checksum::update(field, difference));
}

#[cfg(test)]
mod tests;
