//! The transport layer of a frame to be built.

use crate::packet::sctp::ChunkType;

/// The transport layer of a frame. All ports are in host order.
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
    /// An SCTP packet.
    Sctp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Verification tag.
        tag: u32,
        /// Type of the first chunk.
        chunk: u8,
        /// What follows the first four octets of the chunk; it makes no other chunks.
        value: Vec<u8>,
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

    /// An SCTP packet with one chunk: an INIT with what it must have, or one without a value.
    pub fn sctp(source: u16, destination: u16, chunk: u8) -> Self {
        let value = if chunk == ChunkType::INIT || chunk == ChunkType::INIT_ACK {
            // Initiate tag, receive window, numbers of streams, first transmission sequence number.
            vec![0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9]
        } else {
            Vec::new()
        };
        Self::Sctp {
            source,
            destination,
            tag: if chunk == ChunkType::INIT { 0 } else { 7 },
            chunk,
            value,
        }
    }

    /// IANA's number of the protocol.
    pub fn protocol(&self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Sctp { .. } => 132,
            Self::Other { protocol, .. } => *protocol,
        }
    }

    /// Source and destination port, where there are any.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Self::Tcp {
                source,
                destination,
                ..
            }
            | Self::Udp {
                source,
                destination,
                ..
            }
            | Self::Sctp {
                source,
                destination,
                ..
            } => Some((*source, *destination)),
            Self::Other { .. } => None,
        }
    }

    /// Sets the ports, where there are any.
    pub fn set_ports(&mut self, new_source: u16, new_destination: u16) {
        match self {
            Self::Tcp {
                source,
                destination,
                ..
            }
            | Self::Udp {
                source,
                destination,
                ..
            }
            | Self::Sctp {
                source,
                destination,
                ..
            } => (*source, *destination) = (new_source, new_destination),
            Self::Other { .. } => {}
        }
    }

    /// Length of the transport header that an ICMP error quotes, in octets, without TCP options.
    pub fn quoted_len(&self) -> usize {
        match self {
            Self::Tcp { .. } => 20,
            Self::Udp { .. } => 8,
            Self::Sctp { chunk, .. } if *chunk == ChunkType::INIT => 20,
            Self::Sctp { .. } => 12,
            Self::Other { .. } => 0,
        }
    }

    /// Offset of the Internet checksum in the header, where one is to be computed.
    pub(super) fn checksum_at(&self) -> Option<usize> {
        match self {
            Self::Tcp { .. } => Some(16),
            Self::Udp { checksum: true, .. } => Some(6),
            Self::Udp { .. } | Self::Sctp { .. } | Self::Other { .. } => None,
        }
    }

    /// The octets, with zeros for the checksum.
    pub(super) fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        match self {
            Self::Tcp {
                source,
                destination,
                flags,
                sequence,
                options,
                payload,
            } => {
                assert!(
                    options.len().is_multiple_of(4) && options.len() <= 40,
                    "TCP options of {} octets",
                    options.len()
                );
                octets.extend(source.to_be_bytes());
                octets.extend(destination.to_be_bytes());
                octets.extend(sequence.to_be_bytes());
                let data_offset = ((20 + options.len()) / 4 * 16) as u8;
                octets.extend([0, 0, 0, 1, data_offset, *flags]);
                octets.extend([0x72, 0x10, 0, 0, 0, 0]);
                octets.extend(options);
                octets.extend(payload);
            }
            Self::Udp {
                source,
                destination,
                payload,
                ..
            } => {
                octets.extend(source.to_be_bytes());
                octets.extend(destination.to_be_bytes());
                octets.extend(((8 + payload.len()) as u16).to_be_bytes());
                octets.extend([0, 0]);
                octets.extend(payload);
            }
            Self::Sctp {
                source,
                destination,
                tag,
                chunk,
                value,
            } => {
                octets.extend(source.to_be_bytes());
                octets.extend(destination.to_be_bytes());
                octets.extend(tag.to_be_bytes());
                octets.extend([0; 4]);
                octets.extend([*chunk, 0]);
                octets.extend(((4 + value.len()) as u16).to_be_bytes());
                octets.extend(value);
                // A chunk takes a multiple of four octets.
                octets.resize(octets.len().next_multiple_of(4), 0);
            }
            Self::Other { payload, .. } => octets.extend(payload),
        }
        octets
    }
}
