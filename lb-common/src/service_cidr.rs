//! Service CIDRs: the ranges that Services get their addresses from, so that an address of one that no Service has is nobody's
//! (S-30 d).
//!
//! They are few, and nearly every packet of a pod is compared with them. So they are an array that is walked in line, not a
//! tree of prefixes: with none there it is one load, with one there a mask and a comparison more.

use crate::addr::Address;
use crate::layout::map_type;

/// How many ranges of one family are compared.
pub const MOST: usize = 8;

map_type! {
    /// A range of addresses.
    pub struct Range<A> {
        /// A bit is set where an address of the range has the prefix's.
        mask: A,
        /// What its addresses begin with, and zeros behind that.
        prefix: A,
    }
}

map_type! {
    /// The one element of `service_cidr_v4` and `service_cidr_v6`.
    pub struct ServiceCidrs<A> {
        /// How many there are, at most [`MOST`].
        count: u32,
        /// The first of these are meant.
        ranges: [Range<A>; MOST],
    }
}

impl<A: Address> ServiceCidrs<A> {
    /// None.
    pub fn none() -> Self {
        let nothing = Range {
            mask: A::zeroed(),
            prefix: A::zeroed(),
        };
        Self {
            count: 0,
            ranges: [nothing; MOST],
        }
    }

    /// Ranges, each an address and the length of its prefix in bits; whatever is behind the prefix does not count. Those beyond
    /// [`MOST`] are left out.
    pub fn new(ranges: impl IntoIterator<Item = (A, u32)>) -> Self {
        let mut cidrs = Self::none();
        for (range, (address, length)) in cidrs.ranges.iter_mut().zip(ranges) {
            range.mask = mask(length);
            range.prefix = and(&address, &range.mask);
            cidrs.count += 1;
        }
        cidrs
    }

    /// The ranges, each the prefix and its length in bits.
    pub fn ranges(&self) -> impl Iterator<Item = (A, u32)> {
        let bits = |mask: &A| {
            let octets = bytemuck::bytes_of(mask).iter();
            octets.map(|octet| octet.count_ones()).sum()
        };
        let ranges = self.ranges.iter().take(self.count as usize);
        ranges.map(move |range| (range.prefix, bits(&range.mask)))
    }

    /// Whether an address is in one of them.
    #[inline(always)]
    pub fn contain(&self, address: &A) -> bool {
        for index in 0..MOST {
            if index as u32 >= self.count {
                return false;
            }
            // Copied as a whole, so that it is read by words.
            let range = self.ranges[index];
            if address.has_prefix(&range.prefix, &range.mask) {
                return true;
            }
        }
        false
    }
}

/// The mask of a prefix of so many bits.
fn mask<A: Address>(length: u32) -> A {
    let mut mask = A::zeroed();
    for (index, octet) in bytemuck::bytes_of_mut(&mut mask).iter_mut().enumerate() {
        let bits = length.saturating_sub(8 * index as u32).min(8);
        *octet = !(0xff_u32 >> bits) as u8;
    }
    mask
}

fn and<A: Address>(address: &A, mask: &A) -> A {
    let mut masked = *address;
    let octets = bytemuck::bytes_of_mut(&mut masked).iter_mut();
    for (octet, mask) in octets.zip(bytemuck::bytes_of(mask)) {
        *octet &= mask;
    }
    masked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit, as the words have it.
    fn has_prefix<A: Address>(address: &A, prefix: &A, length: u32) -> bool {
        let (own, other) = (bytemuck::bytes_of(address), bytemuck::bytes_of(prefix));
        (0..length as usize).all(|bit| (own[bit / 8] ^ other[bit / 8]) & (0x80 >> (bit % 8)) == 0)
    }

    #[test]
    fn a_range_contains_what_begins_with_its_prefix_s30d() {
        for (length, address, contained) in [
            (12, [10, 111, 255, 255], true),
            (12, [10, 112, 0, 0], false),
            (12, [10, 95, 255, 255], false),
            (32, [10, 96, 0, 0], true),
            (32, [10, 96, 0, 1], false),
            (24, [10, 96, 0, 255], true),
        ] {
            let cidrs = ServiceCidrs::new([([10, 96, 0, 0], length)]);
            assert_eq!(
                cidrs.contain(&address),
                contained,
                "{address:?} in /{length}"
            );
        }
        assert!(!ServiceCidrs::none().contain(&[0, 0, 0, 0]));
    }

    #[test]
    fn those_beyond_the_room_are_left_out() {
        let all = (0..=MOST as u8).map(|i| ([10, i, 0, 0], 16));
        let cidrs = ServiceCidrs::new(all.clone());
        assert_eq!(
            cidrs.ranges().collect::<Vec<_>>(),
            all.take(MOST).collect::<Vec<_>>()
        );
        assert!(cidrs.contain(&[10, MOST as u8 - 1, 0, 1]));
        assert!(!cidrs.contain(&[10, MOST as u8, 0, 1]));
    }

    proptest! {
        #[test]
        fn ipv4_addresses_are_compared_as_bits_are(
            ranges in prop::collection::vec((any::<[u8; 4]>(), 0..=32_u32), 0..=MOST), address: [u8; 4], near in 0..MOST,
        ) {
            check(&ranges, address, near)?;
        }

        #[test]
        fn ipv6_addresses_are_compared_as_bits_are(
            ranges in prop::collection::vec((any::<[u8; 16]>(), 0..=128_u32), 0..=MOST), address: [u8; 16], near in 0..MOST,
        ) {
            check(&ranges, address, near)?;
        }
    }

    /// Of an address, and of one that has the first half of its bits from a range.
    fn check<A: Address + std::fmt::Debug>(
        ranges: &[(A, u32)],
        address: A,
        near: usize,
    ) -> Result<(), TestCaseError> {
        let mut close = address;
        if let Some((prefix, _)) = ranges.get(near) {
            let half = A::OCTETS / 2;
            bytemuck::bytes_of_mut(&mut close)[..half]
                .copy_from_slice(&bytemuck::bytes_of(prefix)[..half]);
        }
        let cidrs = ServiceCidrs::new(ranges.iter().copied());
        for address in [address, close] {
            let expected = ranges
                .iter()
                .any(|(prefix, length)| has_prefix(&address, prefix, *length));
            prop_assert_eq!(cidrs.contain(&address), expected, "{:?}", address);
        }
        for ((prefix, length), (address, bits)) in cidrs.ranges().zip(ranges) {
            prop_assert_eq!(length, *bits);
            prop_assert!(has_prefix(&prefix, address, length));
        }
        Ok(())
    }
}
