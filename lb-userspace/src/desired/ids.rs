//! Ids that are given out lowest first, and rest for a while before they are given out again.

use std::collections::BTreeSet;
use std::time::Instant;

use super::resting::Resting;
use crate::hashed::HashSet;

/// Ids from 1 on.
#[derive(Debug)]
pub struct Ids {
    /// Every free id below `next` is in `free`; those from `next` on are free unless they are in `taken`.
    next: u32,
    free: BTreeSet<u32>,
    taken: HashSet<u32>,
    resting: Resting<u32>,
}

impl Default for Ids {
    fn default() -> Self {
        Self {
            next: 1,
            free: BTreeSet::new(),
            taken: HashSet::default(),
            resting: Resting::default(),
        }
    }
}

impl Ids {
    /// Number of ids that are not free, resting ones among them.
    pub fn used(&self) -> u32 {
        self.taken.len() as u32
    }

    /// A free id. None is greater than the number that are used then, unless one was reserved that is.
    pub fn take(&mut self) -> u32 {
        let id = self.free.pop_first().unwrap_or_else(|| {
            while self.taken.contains(&self.next) {
                self.next += 1;
            }
            self.next += 1;
            self.next - 1
        });
        self.taken.insert(id);
        id
    }

    /// Takes a certain id, if it is free.
    pub fn reserve(&mut self, id: u32) -> bool {
        self.free.remove(&id);
        id != 0 && self.taken.insert(id)
    }

    /// Frees an id that nobody has seen.
    pub fn give_back(&mut self, id: u32) {
        if self.taken.remove(&id) && id < self.next {
            self.free.insert(id);
        }
    }

    /// Frees an id, but not before `until`. Calls come in the order of `until`.
    pub fn rest(&mut self, id: u32, until: Instant) {
        self.resting.push(id, until);
    }

    /// When the next id wakes.
    pub fn next_wake(&self) -> Option<Instant> {
        self.resting.next_wake()
    }

    /// Frees the ids that have rested long enough; whether there were any.
    pub fn wake(&mut self, now: Instant) -> bool {
        let awake = self.resting.wake(now);
        let any = !awake.is_empty();
        awake.into_iter().for_each(|id| self.give_back(id));
        any
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_lowest_free_id_is_given_out_and_reserved_ones_are_skipped() {
        let mut ids = Ids::default();
        assert!(ids.reserve(2));
        assert!(!ids.reserve(2) && !ids.reserve(0));
        assert_eq!([ids.take(), ids.take(), ids.take()], [1, 3, 4]);
        ids.give_back(2);
        ids.give_back(3);
        assert_eq!([ids.take(), ids.take(), ids.take()], [2, 3, 5]);
    }

    #[test]
    fn a_resting_id_is_not_given_out() {
        let start = Instant::now();
        let mut ids = Ids::default();
        let id = ids.take();
        ids.rest(id, start + Duration::from_secs(10));
        assert!(!ids.wake(start + Duration::from_secs(9)));
        assert_ne!(ids.take(), id);
        assert!(ids.wake(start + Duration::from_secs(10)));
        assert_eq!(ids.take(), id);
    }
}
