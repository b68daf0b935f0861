//! What later fragments of a datagram need to know of the first, which alone has the ports; and the fragments that came
//! before it.
//!
//! It does not put datagrams together: each fragment is translated by itself.

use crate::addr::Address;
use crate::layout::map_type;
use crate::packet::Packet;

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

    /// The identification; 16 bits in IPv4, 32 in IPv6.
    #[inline(always)]
    pub fn identification(&self) -> u32 {
        self.identification
    }

    /// Where the fragments are sent to.
    #[inline(always)]
    pub fn destination(&self) -> A {
        self.destination
    }
}

/// What was decided on the first fragment of a datagram, and becomes of those that follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Decision {
    /// They get another source address.
    Source = 1,
    /// They get another destination address.
    Destination = 2,
    /// They pass.
    Pass = 3,
    /// They are dropped: the first one was dropped or refused.
    Drop = 4,
}

/// Nothing yet, the first fragment has not come. Differs from 0, which is an entry that nobody wrote, as decisions do.
const AWAITED: u8 = 5;

map_type! {
    /// Value of `fragments_v4` and `fragments_v6`: what was done to the first fragment, or how many came before it.
    pub struct Fragments<A> {
        address: A,
        identification: u32,
        written_at: u32,
        held: u16,
        decision: u8,
        reserved: u8,
    }
}

impl<A: Address> Fragments<A> {
    /// Nothing done: all zeros.
    pub fn empty() -> Self {
        Self {
            address: A::zeroed(),
            identification: 0,
            written_at: 0,
            held: 0,
            decision: 0,
            reserved: 0,
        }
    }

    /// Makes this the record of a first fragment that was decided on at tick `now` of the data plane's clock. `address` is
    /// the one that it got, and means nothing where it got none.
    #[inline(always)]
    pub fn decide(&mut self, identification: u32, decision: Decision, address: A, now: u32) {
        self.address = address;
        self.write(identification, decision as u8, 0, now);
    }

    /// Makes this the record of a datagram whose first fragment has not come, while so many others are held.
    #[inline(always)]
    pub fn await_first(&mut self, identification: u32, held: u16, now: u32) {
        self.address = A::zeroed();
        self.write(identification, AWAITED, held, now);
    }

    #[inline(always)]
    fn write(&mut self, identification: u32, decision: u8, held: u16, now: u32) {
        self.identification = identification;
        self.written_at = now;
        self.held = held;
        self.decision = decision;
        self.reserved = 0;
    }

    /// The address that the fragments get.
    #[inline(always)]
    pub fn address(&self) -> A {
        self.address
    }

    /// Whether this was decided on the first fragment of a datagram. The identification is compared once more because the
    /// kernel may give an entry's memory to another key while it is read.
    #[inline(always)]
    pub fn says(&self, decision: Decision, identification: u32) -> bool {
        self.identification == identification && self.decision == decision as u8
    }

    /// How many fragments of a datagram are held until its first one comes; 0 where that has come.
    #[inline(always)]
    pub fn held(&self, identification: u32) -> u16 {
        if self.identification == identification && self.decision == AWAITED {
            self.held
        } else {
            0
        }
    }

    /// Tick of the first fragment, or of the last one that was held.
    #[inline(always)]
    pub fn written_at(&self) -> u32 {
        self.written_at
    }

    /// The same record at another tick.
    #[inline(always)]
    pub fn as_of(mut self, tick: u32) -> Self {
        self.written_at = tick;
        self
    }
}

/// Octets of a frame that can be held, with its Ethernet header: more than a device with the usual MTU sends.
pub const HELD_OCTETS: usize = 2_048;
/// Fragments of one datagram that can be held: those of 64 KiB at an MTU of 1 280, the smallest of IPv6, are 53.
pub const MOST_HELD: u16 = 64;

map_type! {
    /// Key of `held_v4` and `held_v6`: a datagram, and which of its fragments that came before the first this is.
    pub struct HeldKey<A> {
        datagram: FragmentsKey<A>,
        number: u32,
    }
}

impl<A: Address> HeldKey<A> {
    /// No key: all zeros.
    pub fn empty() -> Self {
        Self {
            datagram: FragmentsKey::empty(),
            number: 0,
        }
    }

    /// Makes this the key of a datagram's fragment; numbers begin with 0.
    #[inline(always)]
    pub fn set(&mut self, datagram: &FragmentsKey<A>, number: u16) {
        self.datagram = *datagram;
        self.number = number as u32;
    }

    /// Sets the number alone.
    #[inline(always)]
    pub fn set_number(&mut self, number: u16) {
        self.number = number as u32;
    }
}

map_type! {
    /// Value of `held_v4` and `held_v6`: a frame that came before the first fragment of its datagram.
    pub struct Held {
        len: u32,
        octets: [u8; HELD_OCTETS],
    }
}

impl Held {
    /// Length of the frame in octets.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it holds nothing.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the length; the octets are written behind it.
    #[inline(always)]
    pub fn set_len(&mut self, len: u32) {
        self.len = len;
    }

    /// A frame that is held, of [`HELD_OCTETS`] at most.
    ///
    /// # Panics
    /// If it is longer.
    #[cfg(any(test, feature = "std"))]
    pub fn of(frame: &[u8]) -> Self {
        let mut held = <Self as bytemuck::Zeroable>::zeroed();
        held.octets[..frame.len()].copy_from_slice(frame);
        held.len = frame.len() as u32;
        held
    }

    /// The frame.
    #[cfg(any(test, feature = "std"))]
    pub fn frame(&self) -> &[u8] {
        &self.octets[..self.len as usize]
    }

    /// Room for the octets.
    #[inline(always)]
    pub fn octets(&self) -> *const u8 {
        (&raw const self.octets).cast()
    }
}
