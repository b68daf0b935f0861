//! A queue of things that rest for a while before they may be used again.

use std::collections::VecDeque;
use std::time::Instant;

/// The things, those that rest longest at the end.
#[derive(Debug)]
pub struct Resting<T>(VecDeque<(Instant, T)>);

impl<T> Default for Resting<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Resting<T> {
    /// Lets a thing rest until a time. Calls come in the order of their times.
    pub fn push(&mut self, thing: T, until: Instant) {
        self.0.push_back((until, thing));
    }

    /// Takes out what has rested long enough.
    pub fn wake(&mut self, now: Instant) -> Vec<T> {
        let awake = self.0.partition_point(|(until, _)| *until <= now);
        self.0.drain(..awake).map(|(_, thing)| thing).collect()
    }

    /// When the next thing wakes.
    pub fn next_wake(&self) -> Option<Instant> {
        self.0.front().map(|(until, _)| *until)
    }
}
