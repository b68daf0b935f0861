//! Ethernet frames for tests, serialised from scratch with full checksums.
//!
//! It is the oracle of the rewriting code: a rewritten frame must equal the frame that the builder makes for the new
//! addresses. So it shares no checksum arithmetic with `checksum`.

use super::crc32c::crc32c;
use super::l4::L4;
use crate::packet::{ETHERNET, Parse};

/// A frame to be built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame<A> {
    /// The IP layer.
    pub ip: Ip<A>,
    /// The transport layer.
    pub l4: L4,
}

/// The IP layer of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ip<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 options, a multiple of four octets.
    pub options: Vec<u8>,
    /// IPv6 extension headers, in their order.
    pub extensions: Vec<Extension>,
    /// Which part of a datagram this is. In IPv6 it makes a fragment header, the last of the extension headers.
    pub part: Option<Part>,
}

/// An IPv6 extension header. The octets are what follows its first two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Extension {
    /// Hop-by-hop options; with the first two, a multiple of eight octets, as in the next two.
    HopByHop(Vec<u8>),
    /// A routing header.
    Routing(Vec<u8>),
    /// Destination options.
    Destination(Vec<u8>),
    /// An authentication header (RFC 4302); with the first two, a multiple of four octets.
    Authentication(Vec<u8>),
}

/// The place of a part in its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Identification; IPv4 keeps 16 bits of it.
    pub identification: u32,
    /// Offset in octets, a multiple of eight.
    pub offset: u16,
    /// Whether more parts follow.
    pub more: bool,
}

/// How the transport checksum is filled in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checksum {
    Complete,
    Partial,
}

impl<A: Parse> Frame<A> {
    /// A frame without options, TTL 64.
    pub fn new(source: A, destination: A, l4: L4) -> Self {
        Self {
            ip: Ip {
                source,
                destination,
                ttl: 64,
                options: Vec::new(),
                extensions: Vec::new(),
                part: None,
            },
            l4,
        }
    }

    /// The same frame from another end.
    pub fn with_source(&self, address: A, port: u16) -> Self {
        let mut frame = self.clone();
        frame.ip.source = address;
        if let Some((_, destination)) = self.l4.ports() {
            frame.l4.set_ports(port, destination);
        }
        frame
    }

    /// The same frame to another end.
    pub fn with_destination(&self, address: A, port: u16) -> Self {
        let mut frame = self.clone();
        frame.ip.destination = address;
        if let Some((source, _)) = self.l4.ports() {
            frame.l4.set_ports(source, port);
        }
        frame
    }

    /// The same frame with the ends exchanged: an answer.
    pub fn reversed(&self) -> Self {
        let mut frame = self.clone();
        frame.ip.source = self.ip.destination;
        frame.ip.destination = self.ip.source;
        if let Some((source, destination)) = self.l4.ports() {
            frame.l4.set_ports(destination, source);
        }
        frame
    }

    /// The same datagram in fragments, each with at most `most` octets of it.
    ///
    /// # Panics
    /// If `most` is no multiple of eight, or less.
    pub fn fragments(&self, identification: u32, most: usize) -> Vec<Self> {
        assert!(
            most.is_multiple_of(8) && most > 0,
            "fragments of {most} octets"
        );
        let mut whole = self.clone();
        whole.ip.part = None;
        let octets = whole.build();
        let pieces = octets[ETHERNET + whole.ip_len()..].chunks(most);
        let last = pieces.len().saturating_sub(1);
        let fragment = |(i, piece): (usize, &[u8])| {
            let mut fragment = whole.clone();
            fragment.l4 = L4::Other {
                protocol: self.l4.protocol(),
                payload: piece.to_vec(),
            };
            fragment.ip.part = Some(Part {
                identification,
                offset: (i * most) as u16,
                more: i < last,
            });
            fragment
        };
        pieces.enumerate().map(fragment).collect()
    }

    /// The octets, from the Ethernet header on.
    pub fn build(&self) -> Vec<u8> {
        self.build_with(Checksum::Complete)
    }

    /// The octets as a sender leaves them to a device that completes checksums: the field holds the sum of the
    /// pseudo-header, and SCTP's is zero (`CHECKSUM_PARTIAL` in the kernel's `include/linux/skbuff.h`).
    pub fn build_with_partial_checksum(&self) -> Vec<u8> {
        self.build_with(Checksum::Partial)
    }

    /// Length of the IP header with its options or extension headers, in octets.
    pub fn ip_len(&self) -> usize {
        self.ip_header(0).len()
    }

    fn build_with(&self, checksum: Checksum) -> Vec<u8> {
        let mut frame = vec![0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02];
        frame.extend(A::ETHERTYPE.to_be_bytes());
        let mut l4 = self.l4.octets();
        if let Some(at) = self.l4.checksum_at() {
            let sum = self.transport_checksum(&l4, checksum);
            l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        if matches!(self.l4, L4::Sctp { .. }) && checksum == Checksum::Complete {
            let sum = crc32c(&l4);
            l4[8..12].copy_from_slice(&sum.to_le_bytes());
        }
        frame.extend(self.ip_header(l4.len()));
        frame.extend(l4);
        frame
    }

    fn ip_header(&self, l4_len: usize) -> Vec<u8> {
        if A::OCTETS == 4 {
            self.ipv4(l4_len)
        } else {
            self.ipv6(l4_len)
        }
    }

    fn ipv4(&self, l4_len: usize) -> Vec<u8> {
        let Ip {
            options,
            extensions,
            part,
            ..
        } = &self.ip;
        assert!(
            options.len().is_multiple_of(4) && options.len() <= 40,
            "IPv4 options of {} octets",
            options.len()
        );
        assert!(extensions.is_empty(), "IPv6 extension headers in IPv4");
        let header_len = 20 + options.len();
        // Don't fragment, where it is none.
        let (identification, part) = part.map_or((0x1234, 0x4000), |part| {
            let more = if part.more { 0x2000 } else { 0 };
            (part.identification as u16, more | (part.offset >> 3))
        });
        let mut header = vec![0x40 | (header_len / 4) as u8, 0];
        header.extend(((header_len + l4_len) as u16).to_be_bytes());
        header.extend(identification.to_be_bytes());
        header.extend(u16::to_be_bytes(part));
        header.extend([self.ip.ttl, self.l4.protocol(), 0, 0]);
        header.extend(bytemuck::bytes_of(&self.ip.source));
        header.extend(bytemuck::bytes_of(&self.ip.destination));
        header.extend(options);
        let checksum = internet_checksum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn ipv6(&self, l4_len: usize) -> Vec<u8> {
        assert!(self.ip.options.is_empty(), "IPv4 options in IPv6");
        // From the last to the first, for each header names the next one.
        let mut next = self.l4.protocol();
        let mut extensions = Vec::new();
        if let Some(part) = self.ip.part {
            let mut header = vec![next, 0];
            header.extend((part.offset | u16::from(part.more)).to_be_bytes());
            header.extend(part.identification.to_be_bytes());
            extensions = header;
            next = 44;
        }
        for extension in self.ip.extensions.iter().rev() {
            let (number, mut header) = extension.octets(next);
            header.extend(extensions);
            extensions = header;
            next = number;
        }
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(((extensions.len() + l4_len) as u16).to_be_bytes());
        header.extend([next, self.ip.ttl]);
        header.extend(bytemuck::bytes_of(&self.ip.source));
        header.extend(bytemuck::bytes_of(&self.ip.destination));
        header.extend(extensions);
        header
    }

    fn transport_checksum(&self, segment: &[u8], checksum: Checksum) -> u16 {
        let mut octets = Vec::new();
        octets.extend(bytemuck::bytes_of(&self.ip.source));
        octets.extend(bytemuck::bytes_of(&self.ip.destination));
        octets.extend((segment.len() as u32).to_be_bytes());
        octets.extend([0, 0, 0, self.l4.protocol()]);
        if checksum == Checksum::Partial {
            return !internet_checksum(&octets);
        }
        octets.extend(segment);
        match (internet_checksum(&octets), &self.l4) {
            (0, L4::Udp { .. }) => 0xffff,
            (sum, _) => sum,
        }
    }
}

impl Extension {
    /// IANA's number, and the octets of the header.
    fn octets(&self, next: u8) -> (u8, Vec<u8>) {
        let (number, octets, unit, len) = match self {
            Self::HopByHop(octets) => (0, octets, 8, (octets.len() + 2) / 8),
            Self::Routing(octets) => (43, octets, 8, (octets.len() + 2) / 8),
            Self::Destination(octets) => (60, octets, 8, (octets.len() + 2) / 8),
            Self::Authentication(octets) => (51, octets, 4, (octets.len() + 2) / 4 - 1),
        };
        assert!(
            (octets.len() + 2).is_multiple_of(unit),
            "an extension header of {} octets",
            octets.len() + 2
        );
        let mut header = vec![next, (len - 1) as u8];
        header.extend(octets);
        (number, header)
    }
}

/// The checksum of RFC 1071 over octets whose checksum field is zero, as a number in host order.
pub fn internet_checksum(octets: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for (i, octet) in octets.iter().enumerate() {
        sum += if i % 2 == 0 {
            u64::from(*octet) << 8
        } else {
            u64::from(*octet)
        };
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
