//! What later fragments of a datagram need to know of the first, which alone has the ports.
//!
//! It does not put datagrams together: each fragment is translated by itself.

use crate::addr::Address;
use crate::layout::map_type;
use crate::packet::Packet;
use crate::rewrite::Side;

/// Seconds after which a fragment without its first one is given up (`net.ipv4.ipfrag_time`).
pub const SECONDS: u32 = 30;

map_type! {
    /// Key of `fragments_v4` and `fragments_v6`: what the fragments of a datagram have in common, before any of them is
    /// translated (RFC 791 section 3.2, RFC 8200 section 4.5).
    pub struct FragmentsKey<A> {
        source: A,
        destination: A,
        identification: u32,
        protocol: u8,
        reserved: [u8; 3],
    }
}

impl<A: Address> FragmentsKey<A> {
    /// No key: all zeros.
    pub fn empty() -> Self {
        Self {
            source: A::zeroed(),
            destination: A::zeroed(),
            identification: 0,
            protocol: 0,
            reserved: [0; 3],
        }
    }

    /// Makes this the key of a fragment's datagram. In IPv6 the protocol is none of it: only the first fragment's counts.
    #[inline(always)]
    pub fn set(&mut self, packet: &Packet<A>) {
        self.source = packet.source;
        self.destination = packet.destination;
        self.identification = packet.fragment.identification;
        self.protocol = if A::OCTETS == 4 {
            packet.fragment.protocol
        } else {
            0
        };
        self.reserved = [0; 3];
    }
}

map_type! {
    /// Value of `fragments_v4` and `fragments_v6`: what was done to the first fragment.
    pub struct Fragments<A> {
        address: A,
        identification: u32,
        decided_at: u32,
        side: u8,
        reserved: [u8; 3],
    }
}

impl<A: Address> Fragments<A> {
    /// Nothing done: all zeros.
    pub fn empty() -> Self {
        Self {
            address: A::zeroed(),
            identification: 0,
            decided_at: 0,
            side: 0,
            reserved: [0; 3],
        }
    }

    /// Makes this the record of a first fragment that got another address at tick `now` of the data plane's clock.
    #[inline(always)]
    pub fn set(&mut self, identification: u32, side: Side, address: A, now: u32) {
        self.address = address;
        self.identification = identification;
        self.decided_at = now;
        self.side = number(side);
        self.reserved = [0; 3];
    }

    /// The address that the fragments get.
    #[inline(always)]
    pub fn address(&self) -> A {
        self.address
    }

    /// Whether this says what becomes of one side of a later fragment. The identification is compared once more because the
    /// kernel may give an entry's memory to another key while it is read.
    #[inline(always)]
    pub fn is_of(&self, identification: u32, side: Side) -> bool {
        self.identification == identification && self.side == number(side)
    }

    /// Tick of the first fragment.
    #[inline(always)]
    pub fn decided_at(&self) -> u32 {
        self.decided_at
    }

    /// The same record of a first fragment at another tick.
    #[inline(always)]
    pub fn as_of(mut self, tick: u32) -> Self {
        self.decided_at = tick;
        self
    }
}

/// Both differ from 0, which is an entry that nobody wrote.
#[inline(always)]
fn number(side: Side) -> u8 {
    match side {
        Side::Source => 1,
        Side::Destination => 2,
    }
}
