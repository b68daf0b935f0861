//! Addresses, ports and protocols, each in a type that knows its byte order.
//!
//! Addresses are arrays of octets in network order, which is how a packet holds them and how a map dump shows them.

use bytemuck::Pod;

/// An IP address as octets in network order. `[u8; 4]` is an IPv4 address, `[u8; 16]` an IPv6 address.
pub trait Address: Pod + Eq {
    /// Length of the address in octets.
    const OCTETS: usize;
    /// EtherType of the family (host order).
    const ETHERTYPE: u16;
    /// Folds the address to 64 bits, all octets counting.
    fn fold(&self) -> u64;
    /// Unfolded one's complement sum of the address's 16-bit words, in the byte order of memory (RFC 1071, 2.B).
    fn sum(&self) -> u32;
    /// Whether the address agrees with `prefix` in each bit of `mask`.
    fn has_prefix(&self, prefix: &Self, mask: &Self) -> bool;
}

impl Address for [u8; 4] {
    const OCTETS: usize = 4;
    const ETHERTYPE: u16 = 0x0800;

    #[inline(always)]
    fn fold(&self) -> u64 {
        u32::from_ne_bytes(*self) as u64
    }

    #[inline(always)]
    fn sum(&self) -> u32 {
        let word = u32::from_ne_bytes(*self);
        (word >> 16) + (word & 0xffff)
    }

    #[inline(always)]
    fn has_prefix(&self, prefix: &Self, mask: &Self) -> bool {
        (u32::from_ne_bytes(*self) ^ u32::from_ne_bytes(*prefix)) & u32::from_ne_bytes(*mask) == 0
    }
}

impl Address for [u8; 16] {
    const OCTETS: usize = 16;
    const ETHERTYPE: u16 = 0x86dd;

    #[inline(always)]
    fn fold(&self) -> u64 {
        let words: [u64; 2] = bytemuck::cast(*self);
        words[0].wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ words[1]
    }

    #[inline(always)]
    fn sum(&self) -> u32 {
        let words: [u32; 4] = bytemuck::cast(*self);
        (words[0] >> 16)
            + (words[0] & 0xffff)
            + (words[1] >> 16)
            + (words[1] & 0xffff)
            + (words[2] >> 16)
            + (words[2] & 0xffff)
            + (words[3] >> 16)
            + (words[3] & 0xffff)
    }

    #[inline(always)]
    fn has_prefix(&self, prefix: &Self, mask: &Self) -> bool {
        let words = |address: &Self| -> [u32; 4] { bytemuck::cast(*address) };
        let (own, prefix, mask) = (words(self), words(prefix), words(mask));
        // Without a branch between the words, of which the verifier would walk each.
        ((own[0] ^ prefix[0]) & mask[0])
            | ((own[1] ^ prefix[1]) & mask[1])
            | ((own[2] ^ prefix[2]) & mask[2])
            | ((own[3] ^ prefix[3]) & mask[3])
            == 0
    }
}

/// A port of TCP, UDP or SCTP. Made from host order by [`Port::new`], from a packet's octets by [`Port::from_network`]: a
/// forgotten conversion does not compile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port(u16);

impl Port {
    /// A port from a number in host order.
    #[inline(always)]
    pub const fn new(host_order: u16) -> Self {
        Self(host_order)
    }

    /// A port from two octets of a packet.
    #[inline(always)]
    pub const fn from_network(octets: [u8; 2]) -> Self {
        Self(u16::from_be_bytes(octets))
    }

    /// The number, in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The two octets of a packet.
    #[inline(always)]
    pub const fn to_network(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

/// An address and a port: one end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint<A> {
    /// The address.
    pub address: A,
    /// The port.
    pub port: Port,
}

/// A transport protocol that the data plane balances; its number is IANA's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// SCTP.
    Sctp = 132,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// IANA's protocol number.
    #[inline(always)]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The protocol of a number, or none for one that is not balanced.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// The name in capitals, as Kubernetes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}
