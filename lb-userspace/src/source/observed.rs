//! How a source fares, for those who look at the agent from outside: whether each kind is watched and since when, what failed,
//! which objects can't be read, and whether the node should be sent traffic. Written by the source, read by probes and scrapes
//! from another thread; decides nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::model::{Family, ObjectName};

/// What a source tells about itself.
#[derive(Debug)]
pub struct Observed {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    watches: BTreeMap<&'static str, Watch>,
    node: NodeState,
    triggers: Triggers,
}

/// How the watch of one kind of object stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// Changes are followed.
    pub connected: bool,
    /// Since when that is so, or is not.
    pub since: Instant,
    /// How often everything was listed again after the first list.
    pub relists: u64,
    /// Failures by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Objects that can't be read at present.
    pub rejected: usize,
}

/// The node, as far as load balancers in front of it are concerned (S-61).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeState {
    /// It should be sent traffic.
    Eligible,
    /// There is no Node object, or none was seen yet.
    Absent,
    /// It is being deleted.
    Deleted,
    /// The cluster's autoscaler is about to delete it.
    Tainted,
}

/// When changes of endpoints were caused that are not in the maps yet.
#[derive(Default, Debug)]
struct Triggers {
    told: u64,
    taken_in: u64,
    /// With the number of the batch that each was told in.
    waiting: VecDeque<(u64, Trigger)>,
}

/// When a change of endpoints was caused, by the control plane's word (`endpoints.kubernetes.io/last-change-trigger-time`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trigger {
    /// Family of the slice.
    pub family: Family,
    /// The time.
    pub at: Timestamp,
}

/// Changes that may wait to be written; more are not measured.
const MOST_TRIGGERS: usize = 10_000;

impl Default for Observed {
    /// Of a source that has no watches and a node that should be sent traffic.
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                watches: BTreeMap::new(),
                node: NodeState::Eligible,
                triggers: Triggers::default(),
            }),
        }
    }
}

impl Observed {
    /// The watches by the kind's name.
    pub fn watches(&self) -> BTreeMap<&'static str, Watch> {
        self.lock().watches.clone()
    }

    /// The node.
    pub fn node(&self) -> NodeState {
        self.lock().node
    }

    /// A batch was taken in by the listener.
    pub fn taken_in(&self) {
        self.lock().triggers.taken_in += 1;
    }

    /// Everything that was taken in is written: what caused it, and when.
    pub fn written(&self) -> Vec<Trigger> {
        let triggers = &mut self.lock().triggers;
        let taken_in = triggers.taken_in;
        let done = triggers
            .waiting
            .iter()
            .take_while(|(batch, _)| *batch <= taken_in)
            .count();
        triggers
            .waiting
            .drain(..done)
            .map(|(_, trigger)| trigger)
            .collect()
    }

    /// A batch is about to be told.
    pub(crate) fn telling(&self, causes: impl IntoIterator<Item = Trigger>) {
        let triggers = &mut self.lock().triggers;
        triggers.told += 1;
        let room = MOST_TRIGGERS.saturating_sub(triggers.waiting.len());
        let batch = triggers.told;
        let waiting = causes.into_iter().map(|trigger| (batch, trigger));
        triggers.waiting.extend(waiting.take(room));
    }

    pub(crate) fn set_node(&self, node: NodeState) {
        self.lock().node = node;
    }

    /// There is a watch of a kind; it has not connected yet.
    pub(crate) fn expect(&self, kind: &'static str) {
        self.watch(kind, |_| ());
    }

    /// Everything of a kind was listed; `again` unless for the first time.
    pub(crate) fn listed(&self, kind: &'static str, again: bool, rejected: usize) {
        self.watch(kind, |watch| {
            watch.relists += u64::from(again);
            watch.rejected = rejected;
        });
    }

    pub(crate) fn set_rejected(&self, kind: &'static str, rejected: usize) {
        self.watch(kind, |watch| watch.rejected = rejected);
    }

    /// Changes are followed. Returns for how long they were not, if they were not.
    pub(crate) fn connected(&self, kind: &'static str) -> Option<Duration> {
        self.watch(kind, |watch| watch.turn(true))
    }

    /// A list or watch has failed.
    pub(crate) fn failed(&self, kind: &'static str, error: &'static str) {
        self.watch(kind, |watch| {
            *watch.errors.entry(error).or_default() += 1;
            watch.turn(false);
        });
    }

    fn watch<T>(&self, kind: &'static str, change: impl FnOnce(&mut Watch) -> T) -> T {
        change(self.lock().watches.entry(kind).or_insert_with(|| Watch {
            connected: false,
            since: Instant::now(),
            relists: 0,
            errors: BTreeMap::new(),
            rejected: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    fn turn(&mut self, connected: bool) -> Option<Duration> {
        if self.connected == connected {
            return None;
        }
        let before = self.since.elapsed();
        self.connected = connected;
        self.since = Instant::now();
        Some(before)
    }
}

/// The objects of one kind that can't be read.
#[derive(Default, Debug)]
pub(super) struct Rejected(BTreeSet<ObjectName>);

impl Rejected {
    /// Notes whether an object can be read.
    pub(super) fn set(&mut self, name: &ObjectName, rejected: bool) {
        if rejected {
            self.0.insert(name.clone());
        } else {
            self.0.remove(name);
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(second: i64) -> Trigger {
        Trigger {
            family: Family::V4,
            at: Timestamp::from_second(second).expect("a time"),
        }
    }

    #[test]
    fn a_change_counts_as_written_only_once_its_batch_was_taken_in() {
        let observed = Observed::default();
        observed.telling([trigger(1)]);
        observed.telling([trigger(2), trigger(3)]);
        assert_eq!(observed.written(), []);
        observed.taken_in();
        assert_eq!(observed.written(), [trigger(1)]);
        assert_eq!(observed.written(), []);
        observed.taken_in();
        assert_eq!(observed.written(), [trigger(2), trigger(3)]);
    }

    #[test]
    fn a_watch_tells_since_when_it_is_as_it_is() {
        let observed = Observed::default();
        observed.expect("Service");
        let before = observed.watches()["Service"].since;
        assert!(!observed.watches()["Service"].connected);
        assert!(observed.connected("Service").is_some());
        assert_eq!(observed.connected("Service"), None, "it was connected");
        let connected = observed.watches()["Service"].clone();
        assert!(connected.connected && connected.since >= before);
        observed.failed("Service", "connection");
        observed.failed("Service", "connection");
        let failed = observed.watches()["Service"].clone();
        assert!(!failed.connected);
        assert_eq!(failed.errors, BTreeMap::from([("connection", 2)]));
    }
}
