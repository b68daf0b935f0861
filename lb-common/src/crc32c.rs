//! How SCTP's checksum, a CRC32c (RFC 9260 appendix A), follows a change of a packet.
//!
//! A CRC is linear: what a change adds to it depends on the changed bits and on how many octets follow them, not on the
//! packet. As polynomials over GF(2), the change is multiplied by a power of x. Numbers hold polynomials with their bits
//! reversed, as the CRC does: the highest bit is the coefficient of 1.

/// The polynomial 0x1edc6f41, its bits reversed.
pub(crate) const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What four octets that change by `change` (the old XOR the new ones, in their own order) and are followed by `behind` others
/// add to the CRC of all of them.
///
/// A function of its own, for its stack frame, and of numbers alone, which the kernel's type information can describe.
#[inline(never)]
fn difference(change: u32, behind: u16) -> u32 {
    let power = multiply(
        BLOCKS[usize::from(behind >> 8)],
        OCTETS[usize::from(behind & 0xff)],
    );
    multiply(change.to_le(), power)
}

/// x to the 32 + 8k: the 32 steps that the four octets take themselves, and k octets.
static OCTETS: [u32; 256] = powers(32, 8);
/// x to the 2048k: k blocks of 256 octets.
static BLOCKS: [u32; 256] = powers(0, 8 * 256);

const fn powers(first: usize, step: usize) -> [u32; 256] {
    let mut powers = [0; 256];
    let mut power = 1 << 31;
    let mut i = 0;
    while i < first {
        power = times_x(power);
        i += 1;
    }
    let mut k = 0;
    while k < 256 {
        powers[k] = power;
        let mut i = 0;
        while i < step {
            power = times_x(power);
            i += 1;
        }
        k += 1;
    }
    powers
}

const fn times_x(a: u32) -> u32 {
    (a >> 1) ^ if a & 1 == 1 { POLYNOMIAL } else { 0 }
}

/// The product of two polynomials.
#[inline(always)]
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut i = 0;
    while i < 32 {
        product ^= b.wrapping_mul(bit(a >> (31 - i)));
        b = (b >> 1) ^ POLYNOMIAL.wrapping_mul(bit(b));
        i += 1;
    }
    product
}

/// The CRC32c of an SCTP packet, as the packet holds it, after four of its octets have changed; `behind` is the number of octets
/// that follow these. A field of zeros is left to the device, which computes it when the packet is sent: of complete ones, one
/// in 2^32 is zero by chance.
#[inline(always)]
pub fn update(field: [u8; 4], old: [u8; 4], new: [u8; 4], behind: u16) -> [u8; 4] {
    if field == [0; 4] {
        return field;
    }
    let difference = difference(u32::from_ne_bytes(old) ^ u32::from_ne_bytes(new), behind);
    (u32::from_le_bytes(field) ^ difference).to_le_bytes()
}

/// The lowest bit. Were it known to be 0 or 1, the compiler would make a branch of it, and the verifier of BPF programs walk
/// all of the ways through a loop of them.
#[inline(always)]
pub(crate) fn bit(number: u32) -> u32 {
    core::hint::black_box(number & 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::crc32c::crc32c;

    proptest! {
        #[test]
        fn a_change_adds_to_the_crc_what_is_said(
            octets in prop::collection::vec(any::<u8>(), 4..2048),
            at in any::<prop::sample::Index>(),
            new in any::<[u8; 4]>(),
        ) {
            let at = at.index(octets.len() - 3);
            let mut changed = octets.clone();
            changed[at..][..4].copy_from_slice(&new);
            let old = octets[at..].first_chunk().copied().expect("four octets");
            let behind = (octets.len() - at - 4) as u16;
            let [before, after] = [&octets, &changed].map(|octets| crc32c(octets).to_le_bytes());
            prop_assert_eq!(update(before, old, new, behind), after);
        }
    }

    #[test]
    fn it_is_right_for_every_length() {
        // One step further each time, by the definition of a CRC.
        let change = [0, 1, 2, 3];
        let mut crc = change.iter().fold(0, |crc, octet| advance(crc ^ octet));
        for behind in 0..=u16::MAX {
            let change = change.map(|octet| octet as u8);
            assert_eq!(
                difference(u32::from_ne_bytes(change), behind),
                crc,
                "{behind}"
            );
            crc = advance(crc);
        }
    }

    fn advance(crc: u32) -> u32 {
        (0..8).fold(crc, |crc, _| times_x(crc))
    }
}
