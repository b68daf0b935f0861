//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! All sums here are of 16-bit words as they stand in memory. The one's complement sum does not depend on the byte order
//! as long as words are read and the result is written in the same order (RFC 1071, 2.B), so nothing is ever swapped.

use crate::addr::Address;

/// Folds a sum of 16-bit words to 16 bits, carries added back.
#[inline(always)]
pub fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The change that turns the sum over old data into the sum over new data: `new - old` in one's complement, to be added.
///
/// Both are sums of at most eight 16-bit words.
#[inline(always)]
pub fn difference(old: u32, new: u32) -> u32 {
    new + (!fold(old)) as u32
}

/// A checksum field after a change of the data under it: `~(~HC + ~m + m')`, equation 3 of RFC 1624.
#[inline(always)]
pub fn update(field: [u8; 2], difference: u32) -> [u8; 2] {
    let sum = (!u16::from_ne_bytes(field)) as u32 + fold(difference) as u32;
    (!fold(sum)).to_ne_bytes()
}

/// The sum of one 16-bit word of a packet.
#[inline(always)]
pub fn word(octets: [u8; 2]) -> u32 {
    u16::from_ne_bytes(octets) as u32
}

/// The sum of two 16-bit words of a packet.
#[inline(always)]
pub fn words(octets: [u8; 4]) -> u32 {
    let [a, b, c, d] = octets;
    word([a, b]) + word([c, d])
}

/// The unfolded sum of a transport segment's pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1). `len` is the
/// segment's length in octets.
#[inline(always)]
pub fn pseudo_header<A: Address>(source: &A, destination: &A, len: u16, protocol: u8) -> u32 {
    source.sum() + destination.sum() + len.to_be() as u32 + (protocol as u16).to_be() as u32
}

/// The unfolded sum of any octets; an odd last one is padded with zero.
pub fn sum(octets: &[u8]) -> u32 {
    let mut words = octets.chunks_exact(2);
    let mut sum = 0;
    for pair in words.by_ref() {
        sum += word([pair[0], pair[1]]);
    }
    if let [last] = words.remainder() {
        sum += word([*last, 0]);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&data)).to_ne_bytes(), [0xdd, 0xf2]);
    }

    proptest! {
        #[test]
        fn an_incremental_update_equals_a_sum_from_scratch(
            mut data in proptest::collection::vec(any::<u8>(), 8..64),
            new in any::<[u8; 4]>(),
        ) {
            data.truncate(data.len() & !1);
            // A packet always holds some non-zero word; over zeros alone both zeros of one's complement are right.
            data[6] = 1;
            let field = (!fold(sum(&data))).to_ne_bytes();
            let old: [u8; 4] = data[..4].try_into().unwrap();
            data[..4].copy_from_slice(&new);
            let updated = update(field, difference(sum(&old), sum(&new)));
            prop_assert_eq!(updated, (!fold(sum(&data))).to_ne_bytes());
        }
    }
}
