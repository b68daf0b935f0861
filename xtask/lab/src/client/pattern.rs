//! The contents of long streams: bytes that tell their position, so that a lost, doubled or swapped piece is noticed.

use std::sync::LazyLock;

use thiserror::Error;

/// Prime, so that no power of two (a segment, a page) falls on the same bytes again.
const PERIOD: usize = 65_521;

/// Two periods and more, so that a piece of one period's length is contiguous wherever it begins.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let period: Vec<u8> = (0..PERIOD as u32)
        .map(|i| (i.wrapping_mul(0x9e37_79b1) >> 21) as u8)
        .collect();
    period.repeat(2)
});

/// The first wrong byte of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("byte {position} is {found:#04x}, not {expected:#04x}")]
pub struct Mismatch {
    /// Counted from 0.
    pub position: u64,
    /// What it should be.
    pub expected: u8,
    /// What it is.
    pub found: u8,
}

/// The pattern from `position` on: at least one byte, at most `length` and one period.
pub(crate) fn piece(position: u64, length: usize) -> &'static [u8] {
    let start = (position % PERIOD as u64) as usize;
    &BYTES[start..start + length.min(PERIOD)]
}

pub(crate) fn verify(mut position: u64, mut bytes: &[u8]) -> Result<(), Mismatch> {
    while !bytes.is_empty() {
        let expected = piece(position, bytes.len());
        let (now, later) = bytes.split_at(expected.len());
        if now != expected {
            let offset = now.iter().zip(expected).take_while(|(a, b)| a == b).count();
            let position = position + offset as u64;
            return Err(Mismatch {
                position,
                expected: expected[offset],
                found: now[offset],
            });
        }
        position += now.len() as u64;
        bytes = later;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_found_where_it_is() {
        let mut bytes: Vec<u8> = [piece(0, PERIOD), piece(PERIOD as u64, 1000)].concat();
        assert_eq!(verify(0, &bytes), Ok(()));
        bytes[PERIOD + 7] ^= 1;
        assert_eq!(verify(0, &bytes).unwrap_err().position, PERIOD as u64 + 7);
        assert!(
            verify(1448, piece(0, 1448)).is_err(),
            "a segment at another place"
        );
    }
}
