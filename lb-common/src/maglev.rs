//! Selection tables filled as in Maglev (Eisenbud et al., NSDI 2016, section 3.4): each backend owns a permutation of the
//! slots and takes the next free one of it, in turn.
//!
//! So every backend gets the same number of slots but for one, and when a backend comes or goes most slots keep theirs.
//! It does not know weights.

/// Lengths by the number of backends that they serve: `(most backends, slots)`.
///
/// The small ones are highly composite, so that the usual numbers of backends divide them exactly; the large ones are
/// primes of about a hundred slots a backend, where the remainder does not matter. One length serves a class of sizes,
/// for a changed length moves every slot. Most Services have few backends, and their tables are most of the memory: the shortest one is
/// one that up to four divide.
const LENGTHS: [(usize, u32); 10] = [
    (1, 1),
    (4, 12),
    (6, 60),
    (16, 840),
    (32, 3_203),
    (64, 6_421),
    (128, 12_809),
    (256, 25_601),
    (512, 51_203),
    (usize::MAX, 131_071),
];

/// Length of the table for a number of backends; 0 for none.
pub fn table_len(backends: usize) -> u32 {
    if backends == 0 {
        return 0;
    }
    LENGTHS
        .iter()
        .find(|(most, _)| backends <= *most)
        .map_or(0, |(_, len)| *len)
}

/// The table: for each slot the index of its backend in `seeds`.
///
/// A seed stands for a backend's identity. The table depends on the set of seeds, not on their order, as long as they
/// differ. More backends than slots leave the last ones without a slot; [`table_len`] allows for 131 071.
pub fn table(seeds: &[u64]) -> Vec<u32> {
    let len = table_len(seeds.len()) as usize;
    let mut order: Vec<u32> = (0..seeds.len() as u32).collect();
    order.sort_by_key(|i| seeds[*i as usize]);
    let mut cursors: Vec<Cursor> = order
        .iter()
        .map(|i| Cursor::new(seeds[*i as usize], len))
        .collect();

    const FREE: u32 = u32::MAX;
    let mut table = vec![FREE; len];
    let mut filled = 0;
    while filled < len {
        for (cursor, backend) in cursors.iter_mut().zip(&order) {
            let slot = cursor.next_free(&table, FREE);
            table[slot] = *backend;
            filled += 1;
            if filled == len {
                break;
            }
        }
    }
    table
}

/// A place in one backend's permutation of the slots.
struct Cursor {
    next: usize,
    skip: usize,
    len: usize,
}

impl Cursor {
    fn new(seed: u64, len: usize) -> Self {
        let hash = mix(seed);
        let mut skip = 1 + (hash >> 32) as usize % len;
        // Only a step that shares no factor with the length visits every slot.
        while gcd(skip, len) != 1 {
            skip = 1 + skip % len;
        }
        Self {
            next: hash as u32 as usize % len,
            skip,
            len,
        }
    }

    fn next_free(&mut self, table: &[u32], free: u32) -> usize {
        loop {
            let slot = self.next;
            self.next = (self.next + self.skip) % self.len;
            if table[slot] == free {
                return slot;
            }
        }
    }
}

/// Finalizer of splitmix64.
fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(table: &[u32], backends: usize) -> Vec<usize> {
        let mut counts = vec![0; backends];
        table.iter().for_each(|b| counts[*b as usize] += 1);
        counts
    }

    #[test]
    fn no_backend_has_no_slot() {
        assert_eq!(table(&[]), Vec::<u32>::new());
    }

    #[test]
    fn three_backends_share_the_slots_exactly() {
        assert_eq!(counts(&table(&[11, 22, 33]), 3), [4, 4, 4]);
    }

    /// A table of twelve slots moves more than a long one does. What is to be expected of many stays far from what hashing modulo
    /// the number of backends would move: two of three.
    #[test]
    fn losing_one_of_few_backends_moves_few_slots_of_the_others_on_average() {
        const TABLES: u64 = 1_000;
        for backends in 2..=4_u64 {
            let (mut moved, mut kept) = (0, 0);
            for first in 0..TABLES {
                let seeds: Vec<u64> = (0..backends).map(|i| mix(first * backends + i)).collect();
                let lost = backends as u32 - 1;
                let (before, after) = (table(&seeds), table(&seeds[..lost as usize]));
                if before.len() != after.len() {
                    assert_eq!(after.len(), 1);
                    continue;
                }
                let others = before.iter().zip(&after).filter(|(b, _)| **b != lost);
                moved += others.clone().filter(|(b, a)| b != a).count();
                kept += others.count();
            }
            assert!(moved * 5 <= kept, "{backends}: {moved} of {kept} moved");
        }
    }

    #[test]
    fn few_backends_divide_the_slots_and_none_has_as_many_as_a_connection_tries() {
        // SYN failover looks at a slot and the ten behind it.
        const TRIED: u32 = 11;
        for backends in 2..=4 {
            let len = table_len(backends);
            assert_eq!(len % backends as u32, 0);
            assert!(len / (backends as u32) < TRIED, "{backends}");
        }
    }

    fn distinct_seeds(max: usize) -> impl Strategy<Value = Vec<u64>> {
        proptest::collection::btree_set(any::<u64>(), 1..max).prop_map(|s| s.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn slots_are_balanced_to_within_one(seeds in distinct_seeds(200)) {
            let counts = counts(&table(&seeds), seeds.len());
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }

        #[test]
        fn the_order_of_the_backends_does_not_matter(seeds in distinct_seeds(40)) {
            let mut reversed = seeds.clone();
            reversed.reverse();
            let by_seed: Vec<u64> = table(&seeds).iter().map(|i| seeds[*i as usize]).collect();
            let by_reversed: Vec<u64> = table(&reversed).iter().map(|i| reversed[*i as usize]).collect();
            prop_assert_eq!(by_seed, by_reversed);
        }

        #[test]
        fn losing_one_backend_moves_few_slots_of_the_others(seeds in distinct_seeds(100)) {
            // Of so few slots that some tables are unlucky; the mean of those is held below.
            prop_assume!(seeds.len() > 4 && table_len(seeds.len()) == table_len(seeds.len() - 1));
            let before = table(&seeds);
            let after = table(&seeds[..seeds.len() - 1]);
            let lost = seeds.len() as u32 - 1;
            let kept: Vec<_> = before.iter().zip(&after).filter(|(b, _)| **b != lost).collect();
            let moved = kept.iter().filter(|(b, a)| b != a).count();
            // An ideal table moves none of them, hashing modulo the number of backends moves nearly all.
            prop_assert!(moved * 2 < kept.len(), "{moved} of {} slots moved", kept.len());
        }
    }
}
