//! What the data plane needs to know of a packet, read once.
//!
//! [`parse`] turns octets into a [`Packet`]; every later stage takes the value and never looks at the octets again.
//! Nothing is checked that no decision depends on: checksums, for one, are the receiver's business.

pub mod echo;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod reset;
pub mod sctp;
mod transport;
pub mod unreachable;

use core::num::NonZeroU16;

use crate::addr::{Address, Endpoint, Port, Protocol};
use crate::checksum;
use crate::conntrack::Tuple;

/// Length of an Ethernet header without a VLAN tag, in octets.
pub const ETHERNET: usize = 14;

/// Read access to the octets of a frame.
pub trait Octets {
    /// The `N` octets at an offset, or none where the frame is shorter.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// As [`read`](Octets::read), of octets that are taken as a whole: addresses, ports. Where a word can be loaded from anywhere,
    /// that is done; of single octets of a word the verifier of BPF programs would lose track.
    #[inline(always)]
    fn read_words<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.read(offset)
    }

    /// The sum of the 16-bit words from an offset on, folded to 16 bits, or none where the frame is shorter. `len` is a
    /// multiple of four, and at most [`unreachable::MAX_QUOTED`].
    fn sum(&self, offset: usize, len: usize) -> Option<u16>;
}

impl Octets for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn sum(&self, offset: usize, len: usize) -> Option<u16> {
        self.get(offset..)?
            .get(..len)
            .map(|octets| checksum::fold(checksum::sum(octets)))
    }
}

/// Write access to the octets of a frame.
pub trait OctetsMut: Octets {
    /// Writes octets at an offset, or nothing where the frame ends before.
    fn write<const N: usize>(&mut self, offset: usize, octets: [u8; N]) -> Option<()>;
}

#[cfg(any(test, feature = "std"))]
impl OctetsMut for [u8] {
    fn write<const N: usize>(&mut self, offset: usize, octets: [u8; N]) -> Option<()> {
        *self.get_mut(offset..)?.first_chunk_mut()? = octets;
        Some(())
    }
}

/// A header is cut short, or contradicts itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// An IP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<A> {
    /// Offset of the IP header in the frame, in octets.
    pub l3: usize,
    /// Offset of what follows the IP header with its options or extension headers, in octets.
    pub l4: usize,
    /// Length of what follows, by the IP header's own account, in octets; 0 where it does not say (jumbograms).
    pub l4_len: usize,
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Which part of a datagram this is.
    pub fragment: Fragment,
    /// What the packet carries.
    pub transport: Transport,
}

/// What the fixed part of an IP header says: enough to tell most packets that are for no Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Glance<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// What follows the fixed part, by IANA's number: in IPv6 maybe an extension header.
    pub next: u8,
}

/// An IP header right before that of a TCP segment, which is no fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain<A> {
    /// As in a [`Packet`].
    pub l4_len: usize,
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
}

/// An IP header with its options or extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<A> {
    /// As in a [`Packet`].
    pub l4: usize,
    /// As in a [`Packet`].
    pub l4_len: usize,
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Which part of a datagram the packet is.
    pub fragment: Fragment,
    /// What follows, by IANA's number.
    pub protocol: u8,
    /// Whether nothing follows, by the header's own account: a length of 0 that must not be taken for "unknown".
    pub is_last: bool,
}

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A TCP segment, or the first fragment of one.
    Tcp(Ports, TcpFlags),
    /// A UDP datagram, or the first fragment of one.
    Udp(Ports),
    /// An SCTP packet, or the first fragment of one; and what its first chunk means, in TCP's words
    /// ([`sctp::ChunkType::as_tcp`]).
    Sctp(Ports, TcpFlags),
    /// A later fragment. Only the first has a transport header.
    Fragment,
    /// An ICMP echo request: a ping.
    EchoRequest,
    /// An ICMP error. It quotes the packet that it is about: [`icmp::quoted`].
    IcmpError,
    /// Another protocol, by IANA's number.
    Other(u8),
}

/// Source and destination port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// Source port.
    pub source: Port,
    /// Destination port.
    pub destination: Port,
}

impl Ports {
    /// The four octets of a packet: every transport header that is balanced begins with them.
    #[inline(always)]
    pub fn to_network(self) -> [u8; 4] {
        let [a, b] = self.source.to_network();
        let [c, d] = self.destination.to_network();
        [a, b, c, d]
    }
}

/// The place of a packet in its datagram (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Identification; 16 bits in IPv4, 32 in IPv6.
    pub identification: u32,
    /// Offset of this part in octets.
    pub offset: u16,
    /// Whether more parts follow.
    pub more: bool,
    /// Protocol of the datagram, by IANA's number; in IPv6, of what follows the fragment header.
    pub protocol: u8,
}

impl Fragment {
    /// No fragment: the packet is all of its datagram.
    pub const WHOLE: Self = Self {
        identification: 0,
        offset: 0,
        more: false,
        protocol: 0,
    };

    /// Whether others follow the packet, and none goes before it.
    #[inline(always)]
    pub const fn is_first(&self) -> bool {
        self.more && self.offset == 0
    }
}

/// The flags of a TCP header.
///
/// They are never 0 as a number, so that an `Option` of them is one number as well: of an `Option` with a place for the value
/// beside its tag the compiler may copy a value that was never written, which kernels before 6.3 refuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpFlags(NonZeroU16);

impl TcpFlags {
    /// The octet of a TCP header that has them.
    #[inline(always)]
    pub const fn new(flags: u8) -> Self {
        match NonZeroU16::new(0x100 | flags as u16) {
            Some(flags) => Self(flags),
            None => unreachable!(),
        }
    }

    #[inline(always)]
    const fn octet(self) -> u8 {
        self.0.get() as u8
    }

    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;

    /// Whether the sender has finished.
    #[inline(always)]
    pub const fn fin(self) -> bool {
        self.octet() & Self::FIN != 0
    }

    /// Whether the connection is reset.
    #[inline(always)]
    pub const fn rst(self) -> bool {
        self.octet() & Self::RST != 0
    }

    /// Whether this segment opens a connection: SYN without ACK or RST.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.octet() & (Self::SYN | Self::ACK | Self::RST) == Self::SYN
    }

    /// Whether this segment accepts a connection: SYN and ACK without RST.
    #[inline(always)]
    pub const fn accepts(self) -> bool {
        self.octet() & (Self::SYN | Self::ACK | Self::RST) == Self::SYN | Self::ACK
    }
}

/// An address family whose packets can be read.
pub trait Parse: Address {
    /// Reads the fixed part of the IP header that starts at `l3`, or nothing where the frame ends before or the header is of
    /// another version.
    fn glance(octets: &(impl Octets + ?Sized), l3: usize) -> Option<Glance<Self>>;

    /// Reads the IP header that starts at `l3`, with its options or extension headers.
    fn header(octets: &(impl Octets + ?Sized), l3: usize) -> Result<Header<Self>, Malformed>;

    /// Reads the IP header that starts at `l3`, where the header of a TCP segment follows it at once: as [`header`](Parse::header),
    /// and nothing where anything else is to be said of it.
    fn plain_tcp(octets: &(impl Octets + ?Sized), l3: usize) -> Option<Plain<Self>>;

    /// Writes the address at an offset, or nothing where the frame ends before.
    fn write(&self, octets: &mut (impl OctetsMut + ?Sized), offset: usize) -> Option<()>;

    /// IANA's number of the family's ICMP.
    const ICMP: u8;
    /// The types of its messages that are errors, and quote a packet.
    fn is_error(kind: u8) -> bool;
    /// The type of an echo request.
    const ECHO_REQUEST: u8;
    /// The type of the reply.
    const ECHO_REPLY: u8;

    /// Length of an IP header without options or extension headers, in octets.
    const HEADER: usize;
    /// Offset of the TTL or hop limit in the IP header.
    const HOP_LIMIT: usize;
    /// Offset of the source address in the IP header; the destination follows it.
    const SOURCE: usize;
    /// Offset of the header checksum in the IP header, where the family has one.
    const HEADER_CHECKSUM: Option<usize>;
}

/// Reads the packet whose IP header starts at offset `l3` of a frame.
#[inline(always)]
pub fn parse<A: Parse>(octets: &(impl Octets + ?Sized), l3: usize) -> Result<Packet<A>, Malformed> {
    let header = A::header(octets, l3)?;
    let transport = if header.fragment.offset != 0 {
        Transport::Fragment
    } else if header.is_last {
        match header.protocol {
            other if Protocol::from_number(other).is_some() => return Err(Malformed),
            other => Transport::Other(other),
        }
    } else {
        transport::parse::<A>(octets, header.protocol, header.l4, header.l4_len)?
    };
    Ok(Packet {
        l3,
        l4: header.l4,
        l4_len: header.l4_len,
        source: header.source,
        destination: header.destination,
        fragment: header.fragment,
        transport,
    })
}

/// Reads the packet whose IP header starts at offset `l3` of a frame, where it is a TCP segment without IP options and extension
/// headers: as [`parse`] does, and nothing where that says anything else.
#[inline(always)]
pub fn plain_tcp<A: Parse>(octets: &(impl Octets + ?Sized), l3: usize) -> Option<Packet<A>> {
    let header = A::plain_tcp(octets, l3)?;
    let l4 = l3 + A::HEADER;
    if header.l4_len == 0 {
        return None;
    }
    let transport = transport::parse::<A>(octets, Protocol::Tcp.number(), l4, header.l4_len);
    Some(Packet {
        l3,
        l4,
        l4_len: header.l4_len,
        source: header.source,
        destination: header.destination,
        fragment: Fragment::WHOLE,
        transport: transport.ok()?,
    })
}

impl<A: Address> Packet<A> {
    /// The source's end of the connection.
    #[inline(always)]
    pub fn source(&self, ports: &Ports) -> Endpoint<A> {
        Endpoint {
            address: self.source,
            port: ports.source,
        }
    }

    /// The destination's end of the connection.
    #[inline(always)]
    pub fn destination(&self, ports: &Ports) -> Endpoint<A> {
        Endpoint {
            address: self.destination,
            port: ports.destination,
        }
    }

    /// The tuple of a packet from a client to a frontend.
    #[inline(always)]
    pub fn from_client(&self, ports: &Ports, protocol: Protocol) -> Tuple<A> {
        Tuple {
            client: self.source(ports),
            peer: self.destination(ports),
            protocol,
        }
    }

    /// The tuple of a packet from a backend to a client.
    #[inline(always)]
    pub fn from_backend(&self, ports: &Ports, protocol: Protocol) -> Tuple<A> {
        Tuple {
            client: self.destination(ports),
            peer: self.source(ports),
            protocol,
        }
    }
}

/// Copies an address into a header; the loop has a constant bound, so that no bounds check remains in the BPF object.
#[inline(always)]
fn put<const N: usize, const M: usize>(headers: &mut [u8; N], at: usize, octets: &[u8; M]) {
    let mut i = 0;
    while i < M {
        headers[at + i] = octets[i];
        i += 1;
    }
}

#[cfg(test)]
mod tests;
