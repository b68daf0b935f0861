//! How many entries LRU maps have had: what was made, less what was removed, is there or was displaced. And
//! how many flows the table of flows has displaced.
//!
//! An LRU map does not tell what it displaces, so what fills it is counted in `lru_entries`. The number of a count is its index
//! there.

use crate::conntrack::Table;
use crate::layout::name;

/// The maps whose entries are counted, one of each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Lru {
    /// `conntrack_v4` and `conntrack_v6`.
    Conntrack = 0,
    /// `transient_v4` and `transient_v6`.
    Transient = 1,
    /// `affinity_v4` and `affinity_v6`.
    Affinity = 2,
}

impl Lru {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Conntrack, Self::Transient, Self::Affinity];

    /// The maps of a table of flows.
    #[inline(always)]
    pub const fn of(table: Table) -> Self {
        match table {
            Table::Conntrack => Self::Conntrack,
            Table::Transient => Self::Transient,
        }
    }

    /// The names of the maps: IPv4, then IPv6.
    pub const fn names(self) -> [&'static str; 2] {
        match self {
            Self::Conntrack => [name::CONNTRACK_V4, name::CONNTRACK_V6],
            Self::Transient => [name::TRANSIENT_V4, name::TRANSIENT_V6],
            Self::Affinity => [name::AFFINITY_V4, name::AFFINITY_V6],
        }
    }
}

/// What is counted of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Change {
    /// An entry was made.
    Made = 0,
    /// An entry was removed.
    Removed = 1,
}

/// Number of counts of LRU maps.
const OF_LRU: u32 = 12;

/// Number of counts, which is the number of elements of `lru_entries`.
pub const COUNT: u32 = OF_LRU + 2;

/// The number of a count. `octets` is the length of the family's addresses.
#[inline(always)]
pub const fn index(octets: usize, lru: Lru, change: Change) -> u32 {
    let family = if octets == 4 { 0 } else { OF_LRU / 2 };
    family + lru as u32 * 2 + change as u32
}

/// The number of the count of flows that had to go for others in `flows_v4` or `flows_v6`: none of them was assured, and nobody had
/// ended them. `octets` is the length of the family's addresses.
#[inline(always)]
pub const fn displaced_index(octets: usize) -> u32 {
    OF_LRU + if octets == 4 { 0 } else { 1 }
}

/// How many entries had to go for others, at least: `made` and `removed` are the counts of a map, `room` is its size. It is exact
/// while the map is full, and falls by one with each entry that is removed from a full map.
pub const fn displaced(made: u64, removed: u64, room: u32) -> u64 {
    made.saturating_sub(removed).saturating_sub(room as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_a_number_of_its_own() {
        let mut numbers = std::collections::BTreeSet::new();
        for octets in [4, 16] {
            for lru in Lru::ALL {
                for change in [Change::Made, Change::Removed] {
                    numbers.insert(index(octets, lru, change));
                }
            }
            numbers.insert(displaced_index(octets));
        }
        assert!(numbers.into_iter().eq(0..COUNT));
    }

    #[test]
    fn what_does_not_fit_was_displaced() {
        for (made, removed, displaced_at_least) in [
            (0, 0, 0),
            (10, 0, 0),
            (11, 0, 1),
            (11, 1, 0),
            (30, 5, 15),
            (1, 2, 0),
        ] {
            assert_eq!(displaced(made, removed, 10), displaced_at_least);
        }
    }
}
