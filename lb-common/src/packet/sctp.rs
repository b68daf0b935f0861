//! SCTP (RFC 9260), as far as a decision needs it: what the first chunk of a packet means for its association.
//!
//! The checksum, a CRC32c, covers the SCTP packet and no address, so that a packet to another address keeps it. It follows the
//! change of a port by [`crc32c::difference`](crate::crc32c::difference), which needs the length of the whole packet.

use super::TcpFlags;
use crate::crc32c::{POLYNOMIAL, bit};

/// Length of the common header, in octets (RFC 9260 section 3.1).
pub const HEADER: usize = 12;
/// Length of the ports, which it begins with.
pub(crate) const PORTS: usize = 4;
/// Offset of the first chunk's type, which is followed by its flags.
pub(super) const FIRST_CHUNK: usize = HEADER;
/// Offset of the checksum in the common header.
pub(crate) const CHECKSUM: usize = 8;
/// What an ICMP error must quote of a packet with INIT, in octets: up to the initiate tag, without which the sender
/// ignores the error (RFC 9260 section 10, ICMP7).
pub const QUOTED_OF_INIT: usize = HEADER + 8;

/// The type of a packet's first chunk.
///
/// Those that begin and end an association stand alone in their packet or come first in it, but for an ABORT that follows
/// another control chunk (RFC 9260 section 6.10): its association counts as live until it has been idle long enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkType(pub u8);

impl ChunkType {
    /// DATA.
    pub const DATA: u8 = 0;
    /// INIT.
    pub const INIT: u8 = 1;
    /// INIT ACK.
    pub const INIT_ACK: u8 = 2;
    /// ABORT.
    pub const ABORT: u8 = 6;
    /// SHUTDOWN.
    pub const SHUTDOWN: u8 = 7;
    /// SHUTDOWN ACK.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// COOKIE ECHO.
    pub const COOKIE_ECHO: u8 = 10;
    /// COOKIE ACK.
    pub const COOKIE_ACK: u8 = 11;
    /// SHUTDOWN COMPLETE.
    pub const SHUTDOWN_COMPLETE: u8 = 14;

    /// The flags of the TCP segment that means the same for its connection. So an association is a connection like any
    /// other, and every rule about connections holds for it.
    ///
    /// Looked up, for the verifier of BPF programs walks each branch with its result to the program's end.
    #[inline(always)]
    pub const fn as_tcp(self) -> TcpFlags {
        /// Four bits for each of the first sixteen types.
        const MEANINGS: u64 = {
            let mut meanings = 0;
            let mut chunk = 0;
            while chunk < 16 {
                meanings |= (meaning(chunk) as u64) << (4 * chunk);
                chunk += 1;
            }
            meanings
        };
        // All types above have the meaning of the fifteenth, which is none.
        let chunk = if self.0 < 15 { self.0 } else { 15 };
        let meaning = (MEANINGS >> (4 * chunk)) as u8 & 0xf;
        TcpFlags::new((meaning & !NOTHING) | ((meaning & NOTHING) << 1))
    }
}

/// In place of ACK, which is 16, so that four bits are enough.
const NOTHING: u8 = 8;

const fn meaning(chunk: u8) -> u8 {
    match chunk {
        ChunkType::INIT => TcpFlags::SYN,
        ChunkType::INIT_ACK => TcpFlags::SYN | NOTHING,
        // Its sender will send no more data: each side says so once.
        ChunkType::SHUTDOWN | ChunkType::SHUTDOWN_ACK => TcpFlags::FIN | NOTHING,
        // Nothing follows.
        ChunkType::SHUTDOWN_COMPLETE | ChunkType::ABORT => TcpFlags::RST,
        _ => NOTHING,
    }
}

/// The CRC32c of an SCTP packet (RFC 9260 appendix A), as the packet holds it. The octets of the checksum itself count as
/// zeros.
///
/// Bit by bit and without a table: it is for the few octets that an ICMP error quotes.
#[inline(always)]
pub(super) fn checksum<const N: usize>(octets: &[u8; N]) -> [u8; 4] {
    let mut crc = u32::MAX;
    let mut at = 0;
    while at < N {
        if !(CHECKSUM..CHECKSUM + 4).contains(&at) {
            crc ^= octets[at] as u32;
        }
        let mut i = 0;
        while i < 8 {
            crc = (crc >> 1) ^ POLYNOMIAL.wrapping_mul(bit(crc));
            i += 1;
        }
        at += 1;
    }
    (!crc).to_le_bytes()
}
