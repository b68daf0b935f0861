//! SCTP (RFC 9260) as far as two peers need it who open an association, send each other one message and close it. They speak
//! it over raw sockets, so that the kernel need not know it. Nothing is sent again: the lab loses no packets.
//!
//! The client's part is in `client::sctp`, the server's in `server::sctp`.

use lb_common::packet::sctp::ChunkType;
use lb_common::testing::crc32c::crc32c;

/// IANA's number of the protocol.
pub(crate) const PROTOCOL: i32 = 132;
/// SACK, and the parameter of INIT ACK with the state cookie (RFC 9260 sections 3.2 and 3.3.3).
pub(crate) const SACK: u8 = 3;
const STATE_COOKIE: u16 = 7;
/// Flags of a DATA chunk that holds a whole message.
const WHOLE: u8 = 0b11;
/// How much a peer says it can take, in octets.
const WINDOW: u32 = 1 << 16;
const HEADER: usize = 12;

/// A packet, its ports in host order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub source: u16,
    pub destination: u16,
    /// Verification tag: the receiver's initiate tag, and zero with INIT.
    pub tag: u32,
    pub chunks: Vec<Chunk>,
}

/// A chunk, its value without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub kind: u8,
    pub flags: u8,
    pub value: Vec<u8>,
}

/// What INIT and INIT ACK tell of their sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Initiation {
    /// What it wants to find as verification tag.
    pub tag: u32,
    /// The number of its first DATA chunk.
    pub first: u32,
}

impl Packet {
    /// The octets with their checksum, each chunk padded to a multiple of four.
    pub fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        octets.extend(self.source.to_be_bytes());
        octets.extend(self.destination.to_be_bytes());
        octets.extend(self.tag.to_be_bytes());
        octets.extend([0; 4]);
        for Chunk { kind, flags, value } in &self.chunks {
            octets.extend([*kind, *flags]);
            octets.extend(((4 + value.len()) as u16).to_be_bytes());
            octets.extend(value);
            octets.resize(octets.len().next_multiple_of(4), 0);
        }
        let sum = crc32c(&octets).to_le_bytes();
        octets[8..HEADER].copy_from_slice(&sum);
        octets
    }

    /// Reads a packet. `None`: its checksum is wrong or it is cut short, and nobody may take it (RFC 9260 section 6.8).
    pub fn read(octets: &[u8]) -> Option<Packet> {
        let (header, mut rest) = octets.split_at_checked(HEADER)?;
        let zeroed = [&header[..8], &[0; 4], rest].concat();
        if crc32c(&zeroed).to_le_bytes() != header[8..] {
            return None;
        }
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(u16_at(rest, 2)?);
            chunks.push(Chunk {
                kind: rest[0],
                flags: rest[1],
                value: rest.get(4..length)?.to_vec(),
            });
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
        Some(Packet {
            source: u16_at(header, 0)?,
            destination: u16_at(header, 2)?,
            tag: u32_at(header, 4)?,
            chunks,
        })
    }

    /// Its first chunk of a kind.
    pub fn chunk(&self, kind: u8) -> Option<&Chunk> {
        self.chunks.iter().find(|chunk| chunk.kind == kind)
    }
}

impl Chunk {
    /// A chunk without a value.
    pub fn bare(kind: u8) -> Chunk {
        Chunk::with(kind, Vec::new())
    }

    /// A chunk with a value.
    pub fn with(kind: u8, value: Vec<u8>) -> Chunk {
        Chunk {
            kind,
            flags: 0,
            value,
        }
    }

    /// INIT, or INIT ACK with a state cookie; one stream each way.
    pub fn initiation(own: Initiation, cookie: Option<&[u8]>) -> Chunk {
        let mut value = Vec::new();
        value.extend(own.tag.to_be_bytes());
        value.extend(WINDOW.to_be_bytes());
        value.extend([0, 1, 0, 1]);
        value.extend(own.first.to_be_bytes());
        let Some(cookie) = cookie else {
            return Chunk::with(ChunkType::INIT, value);
        };
        value.extend(STATE_COOKIE.to_be_bytes());
        value.extend(((4 + cookie.len()) as u16).to_be_bytes());
        value.extend(cookie);
        Chunk::with(ChunkType::INIT_ACK, value)
    }

    /// What an INIT or INIT ACK tells.
    pub fn initiated(&self) -> Option<Initiation> {
        Some(Initiation {
            tag: u32_at(&self.value, 0)?,
            first: u32_at(&self.value, 12)?,
        })
    }

    /// The state cookie of an INIT ACK whose only parameter it is.
    pub fn cookie(&self) -> Option<&[u8]> {
        let is_cookie = u16_at(&self.value, 16)? == STATE_COOKIE;
        let length = usize::from(u16_at(&self.value, 18)?);
        is_cookie.then(|| self.value.get(20..16 + length)).flatten()
    }

    /// DATA with a whole message, the first of stream 0.
    pub fn data(number: u32, message: &[u8]) -> Chunk {
        let mut value = number.to_be_bytes().to_vec();
        value.extend([0; 8]);
        value.extend(message);
        Chunk {
            flags: WHOLE,
            ..Chunk::with(ChunkType::DATA, value)
        }
    }

    /// Number and message of a DATA chunk that holds the whole of it.
    pub fn message(&self) -> Option<(u32, &[u8])> {
        let is_whole = self.flags & WHOLE == WHOLE;
        let message = self.value.get(12..).filter(|_| is_whole)?;
        Some((u32_at(&self.value, 0)?, message))
    }

    /// SACK up to a DATA chunk's number, without gaps or duplicates.
    pub fn sack(number: u32) -> Chunk {
        let value = [&number.to_be_bytes()[..], &WINDOW.to_be_bytes(), &[0; 4]];
        Chunk::with(SACK, value.concat())
    }

    /// SHUTDOWN, which acknowledges up to a DATA chunk's number.
    pub fn shutdown(number: u32) -> Chunk {
        Chunk::with(ChunkType::SHUTDOWN, number.to_be_bytes().to_vec())
    }

    /// Up to which DATA chunk's number a SACK or SHUTDOWN acknowledges.
    pub fn acknowledged(&self) -> Option<u32> {
        u32_at(&self.value, 0)
    }
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let octets = octets.get(at..at + 2)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

pub(crate) fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    let octets = octets.get(at..at + 4)?;
    octets.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        let own = Initiation { tag: 7, first: 9 };
        Packet {
            source: 40_000,
            destination: 2905,
            tag: 3,
            chunks: vec![
                Chunk::initiation(own, Some(b"cookie")),
                Chunk::sack(8),
                Chunk::data(9, b"odd"),
            ],
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let read = Packet::read(&packet().octets()).unwrap();
        assert_eq!(read, packet());
        let [init_ack, sack, data] = &read.chunks[..] else {
            panic!("{read:?}");
        };
        let told = Initiation { tag: 7, first: 9 };
        assert_eq!(init_ack.initiated(), Some(told));
        assert_eq!(init_ack.cookie(), Some(&b"cookie"[..]));
        assert_eq!(sack.acknowledged(), Some(8));
        assert_eq!(data.message(), Some((9, &b"odd"[..])));
    }

    #[test]
    fn nobody_takes_a_packet_with_any_bit_changed_or_octet_missing() {
        let octets = packet().octets();
        for bit in 0..8 * octets.len() {
            let mut changed = octets.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Packet::read(&changed), None, "bit {bit}");
        }
        for length in 0..octets.len() {
            assert_eq!(Packet::read(&octets[..length]), None, "{length} octets");
        }
    }
}
