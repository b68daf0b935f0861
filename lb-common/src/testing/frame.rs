//! Ethernet frames for tests, serialised from scratch with full checksums.
//!
//! It is the oracle of the rewriting code: a rewritten frame must equal the frame that the builder makes for the new
//! addresses. So it shares no checksum arithmetic with `checksum`.

use crate::addr::Address;
use crate::packet::Parse;

/// A frame to be built. All ports are in host order.
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
    /// IPv4 options (a multiple of four octets), or IPv6 destination options (eight times n, less two, octets).
    pub options: Vec<u8>,
}

/// The transport layer of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum L4 {
    /// A TCP segment.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Flags.
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Options, a multiple of four octets.
        options: Vec<u8>,
        /// Data.
        payload: Vec<u8>,
    },
    /// A UDP datagram.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Whether there is a checksum.
        checksum: bool,
        /// Data.
        payload: Vec<u8>,
    },
    /// Anything else, without a checksum.
    Other {
        /// IANA's number.
        protocol: u8,
        /// Data.
        payload: Vec<u8>,
    },
}

impl L4 {
    /// A TCP segment without options or data.
    pub fn tcp(source: u16, destination: u16, flags: u8) -> Self {
        Self::Tcp {
            source,
            destination,
            flags,
            sequence: 1,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// A UDP datagram with a checksum.
    pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Self {
        Self::Udp {
            source,
            destination,
            checksum: true,
            payload: payload.to_vec(),
        }
    }

    fn protocol(&self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Other { protocol, .. } => *protocol,
        }
    }
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
            },
            l4,
        }
    }

    /// The octets, from the Ethernet header on.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = vec![0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02];
        frame.extend(A::ETHERTYPE.to_be_bytes());
        let l4 = self.l4_octets();
        if A::OCTETS == 4 {
            self.ipv4(&mut frame, &l4)
        } else {
            self.ipv6(&mut frame, &l4)
        }
        frame.extend(l4);
        frame
    }

    fn ipv4(&self, frame: &mut Vec<u8>, l4: &[u8]) {
        let options = &self.ip.options;
        assert!(
            options.len().is_multiple_of(4) && options.len() <= 40,
            "IPv4 options of {} octets",
            options.len()
        );
        let header_len = 20 + options.len();
        let mut header = vec![0x40 | (header_len / 4) as u8, 0];
        header.extend(((header_len + l4.len()) as u16).to_be_bytes());
        header.extend([0x12, 0x34, 0x40, 0, self.ip.ttl, self.l4.protocol(), 0, 0]);
        header.extend(bytemuck::bytes_of(&self.ip.source));
        header.extend(bytemuck::bytes_of(&self.ip.destination));
        header.extend(options);
        let checksum = internet_checksum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(header);
    }

    fn ipv6(&self, frame: &mut Vec<u8>, l4: &[u8]) {
        let mut extension = Vec::new();
        let mut next = self.l4.protocol();
        if !self.ip.options.is_empty() {
            assert_eq!(
                (self.ip.options.len() + 2) % 8,
                0,
                "IPv6 options of {} octets",
                self.ip.options.len()
            );
            extension.extend([next, ((self.ip.options.len() + 2) / 8 - 1) as u8]);
            extension.extend(&self.ip.options);
            next = 60;
        }
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(((extension.len() + l4.len()) as u16).to_be_bytes());
        frame.extend([next, self.ip.ttl]);
        frame.extend(bytemuck::bytes_of(&self.ip.source));
        frame.extend(bytemuck::bytes_of(&self.ip.destination));
        frame.extend(extension);
    }

    fn l4_octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        match &self.l4 {
            L4::Tcp {
                source,
                destination,
                flags,
                sequence,
                options,
                payload,
            } => {
                octets.extend(source.to_be_bytes());
                octets.extend(destination.to_be_bytes());
                octets.extend(sequence.to_be_bytes());
                octets.extend([
                    0,
                    0,
                    0,
                    1,
                    ((20 + options.len()) / 4 << 4) as u8,
                    *flags,
                    0x72,
                    0x10,
                    0,
                    0,
                    0,
                    0,
                ]);
                octets.extend(options);
                octets.extend(payload);
                let checksum = self.transport_checksum(&octets);
                octets[16..18].copy_from_slice(&checksum.to_be_bytes());
            }
            L4::Udp {
                source,
                destination,
                checksum,
                payload,
            } => {
                octets.extend(source.to_be_bytes());
                octets.extend(destination.to_be_bytes());
                octets.extend(((8 + payload.len()) as u16).to_be_bytes());
                octets.extend([0, 0]);
                octets.extend(payload);
                if *checksum {
                    let sum = match self.transport_checksum(&octets) {
                        0 => 0xffff,
                        sum => sum,
                    };
                    octets[6..8].copy_from_slice(&sum.to_be_bytes());
                }
            }
            L4::Other { payload, .. } => octets.extend(payload),
        }
        octets
    }

    fn transport_checksum(&self, segment: &[u8]) -> u16 {
        let mut octets = Vec::new();
        octets.extend(bytemuck::bytes_of(&self.ip.source));
        octets.extend(bytemuck::bytes_of(&self.ip.destination));
        octets.extend((segment.len() as u32).to_be_bytes());
        octets.extend([0, 0, 0, self.l4.protocol()]);
        octets.extend(segment);
        internet_checksum(&octets)
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

/// An address from text, for readable tests: `v4("10.0.0.1")`.
pub fn v4(text: &str) -> [u8; 4] {
    text.parse::<std::net::Ipv4Addr>()
        .expect("an IPv4 address")
        .octets()
}

/// An address from text, for readable tests: `v6("fd00::1")`.
pub fn v6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>()
        .expect("an IPv6 address")
        .octets()
}

/// Both families from one number, for tests that run on each: the client, node or pod `n`.
pub trait Numbered: Address {
    /// A pod's address.
    fn pod(n: u8) -> Self;
    /// A VIP.
    fn vip(n: u8) -> Self;
}

impl Numbered for [u8; 4] {
    fn pod(n: u8) -> Self {
        [10, 244, 1, n]
    }
    fn vip(n: u8) -> Self {
        [10, 96, 0, n]
    }
}

impl Numbered for [u8; 16] {
    fn pod(n: u8) -> Self {
        [0xfd, 0, 0, 0x10, 0x02, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, n]
    }
    fn vip(n: u8) -> Self {
        [0xfd, 0, 0, 0x10, 0, 0x96, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
    }
}
