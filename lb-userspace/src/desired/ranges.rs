//! Ranges of slots: given out first fit, joined again when they come back, after a rest.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use super::resting::Resting;

/// The slots of the array, free or not.
#[derive(Debug)]
pub struct Ranges {
    /// Free ranges by their start; no two touch.
    free: BTreeMap<u32, u32>,
    used: u32,
    resting: Resting<Range<u32>>,
}

impl Ranges {
    /// All slots of an array of `len`, free.
    pub fn new(len: u32) -> Self {
        Self {
            free: BTreeMap::from([(0, len)]),
            used: 0,
            resting: Resting::default(),
        }
    }

    /// Number of slots that are not free, resting ones among them.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// The first free range of a length that is not 0.
    pub fn take(&mut self, len: u32) -> Option<Range<u32>> {
        let (start, _) = self.free.iter().find(|(start, end)| *end - *start >= len)?;
        let range = *start..*start + len;
        self.carve(range.clone());
        Some(range)
    }

    /// Takes whatever is free in a range.
    pub fn carve(&mut self, range: Range<u32>) -> Vec<Range<u32>> {
        let overlapping: Vec<(u32, u32)> = self
            .free
            .range(..range.end)
            .rev()
            .map(|(start, end)| (*start, *end))
            .take_while(|(_, end)| *end > range.start)
            .collect();
        let mut carved = Vec::new();
        for (start, end) in overlapping {
            self.free.remove(&start);
            if start < range.start {
                self.free.insert(start, range.start);
            }
            if end > range.end {
                self.free.insert(range.end, end);
            }
            let piece = start.max(range.start)..end.min(range.end);
            self.used += piece.end - piece.start;
            carved.push(piece);
        }
        carved
    }

    /// Frees a range that no packet can reach.
    pub fn give_back(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        self.used -= range.end - range.start;
        let Range { mut start, mut end } = range;
        if let Some((before, before_end)) = self.free.range(..start).next_back()
            && *before_end == start
        {
            start = *before;
        }
        if let Some(after_end) = self.free.remove(&end) {
            end = after_end;
        }
        self.free.insert(start, end);
    }

    /// Frees a range, but not before `until`. Calls come in the order of `until`.
    pub fn rest(&mut self, range: Range<u32>, until: Instant) {
        self.resting.push(range, until);
    }

    /// Frees the ranges that have rested long enough; whether there were any.
    pub fn wake(&mut self, now: Instant) -> bool {
        let awake = self.resting.wake(now);
        let any = !awake.is_empty();
        awake.into_iter().for_each(|range| self.give_back(range));
        any
    }

    /// When the next range wakes.
    pub fn next_wake(&self) -> Option<Instant> {
        self.resting.next_wake()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_resting_range_is_not_given_out() {
        let start = Instant::now();
        let mut ranges = Ranges::new(10);
        let first = ranges.take(6).unwrap();
        ranges.rest(first.clone(), start + Duration::from_secs(10));
        assert_eq!(ranges.take(6), None);
        assert!(ranges.wake(start + Duration::from_secs(10)));
        assert_eq!(ranges.take(6), Some(first));
    }

    #[test]
    fn carving_takes_only_what_is_free() {
        let mut ranges = Ranges::new(100);
        let mut carve = |range| -> Vec<(u32, u32)> {
            ranges
                .carve(range)
                .into_iter()
                .map(|piece| (piece.start, piece.end))
                .collect()
        };
        assert_eq!(carve(20..40), [(20, 40)]);
        assert_eq!(carve(30..60), [(40, 60)]);
        assert_eq!(carve(90..200), [(90, 100)]);
        assert_eq!(ranges.used(), 50);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_all_come_back(
            moves in proptest::collection::vec((any::<bool>(), 1_u32..20, any::<usize>()), 0..100),
        ) {
            let mut ranges = Ranges::new(200);
            let mut held: Vec<Range<u32>> = Vec::new();
            for (take, len, pick) in moves {
                if take {
                    if let Some(new) = ranges.take(len) {
                        prop_assert_eq!(new.end - new.start, len);
                        prop_assert!(new.end <= 200);
                        prop_assert!(held.iter().all(|r| r.end <= new.start || new.end <= r.start));
                        held.push(new);
                    }
                } else if !held.is_empty() {
                    ranges.give_back(held.swap_remove(pick % held.len()));
                }
                prop_assert_eq!(ranges.used(), held.iter().map(|r| r.end - r.start).sum::<u32>());
            }
            held.drain(..).for_each(|range| ranges.give_back(range));
            prop_assert_eq!(ranges.take(200), Some(0..200));
        }
    }
}
