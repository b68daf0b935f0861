//! The bitmap that spares most packets every lookup: "may this address be a VIP?".
//!
//! It is conservative. A set bit means that a lookup is worth it; a clear bit means that the address is not a VIP and no
//! flow through a frontend of that address is known.

use crate::addr::Address;

/// Number of bits. 64 KiB stay in a core's cache; 10 000 VIPs set 2 % of them.
pub const BITS: u32 = 1 << 19;

/// Number of 64-bit words, which is the number of elements of the map.
pub const WORDS: u32 = BITS / 64;

/// The bit of an address, below [`BITS`]. Both families share the bitmap.
///
/// The hash has no secret: whoever collides with a VIP only makes its own packets pay for a lookup.
#[inline(always)]
pub fn bit<A: Address>(address: &A) -> u32 {
    (address.fold().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS.trailing_zeros())) as u32
}

/// Index of the 64-bit word that holds a bit, and the mask of the bit in it.
#[inline(always)]
pub fn word_and_mask(bit: u32) -> (u32, u64) {
    (bit / 64, 1 << (bit % 64))
}
