//! When a directory is worth reading: after a moment of silence, and a file that is being written only when its writer has
//! closed it. Pure: it is told of changes and of the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// Silence after which a directory is read.
const QUIET: Duration = Duration::from_millis(20);
/// Longest wait for that silence.
const PATIENCE: Duration = Duration::from_millis(200);
/// Silence after which a file counts as finished though nobody closed it: it was truncated by its path, or its writer keeps
/// it open.
const ABANDONED: Duration = Duration::from_secs(2);

/// A change in the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// This file is being written; its writer will close it.
    Writing(String),
    /// This file was closed, renamed, removed, or its attributes changed.
    Finished(String),
    /// Anything else may have happened.
    Unknown,
}

/// What has been seen since the directory was read.
#[derive(Default, Debug)]
pub(super) struct Settling {
    /// First and last change that is worth a look.
    changed: Option<(Instant, Instant)>,
    /// Files that are being written, with their last change.
    writing: BTreeMap<String, Instant>,
    look_again: Option<Instant>,
}

impl Settling {
    /// Takes note of a change.
    pub(super) fn observe(&mut self, change: Change, now: Instant) {
        match change {
            Change::Writing(name) => {
                self.writing.insert(name, now);
                return;
            }
            Change::Finished(name) => {
                self.writing.remove(&name);
            }
            Change::Unknown => {}
        }
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed = Some((first, now));
    }

    /// Asks for a look at this time, whatever happens.
    pub(super) fn look_again(&mut self, at: Instant) {
        self.look_again = Some(at);
    }

    /// When to read, if nothing more happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let settled = self
            .changed
            .map(|(first, last)| (last + QUIET).min(first + PATIENCE));
        let abandoned = self.writing.values().map(|last| *last + ABANDONED);
        settled
            .into_iter()
            .chain(abandoned)
            .chain(self.look_again)
            .min()
    }

    /// The directory is about to be read: starts anew, and returns the files that are not to be read yet.
    pub(super) fn take(&mut self, now: Instant) -> BTreeSet<String> {
        self.changed = None;
        self.look_again = None;
        self.writing.retain(|_, last| *last + ABANDONED > now);
        self.writing.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
