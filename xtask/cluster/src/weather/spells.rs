//! Which faults are in force, for which requests, and what came through so far. It decides; it touches no connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use super::{Asked, Edit, Refusal, Requests};

/// What can befall a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The answer begins so much later.
    Delay(Duration),
    /// The answer is this one, and the API server is not asked.
    Refuse(Refusal),
    /// Objects in answers and events are others than the API server's.
    Edit(Edit),
    /// Watches that are open stay open and silent; what they had to tell comes when the spell is over.
    Stall,
    /// The connection breaks in the middle of the watch's next event.
    CutEvent,
}

/// A fault that is in force until this is dropped.
#[derive(Debug)]
pub struct Spell {
    rule: Arc<Rule>,
    sky: Arc<Sky>,
}

/// All faults in force and all that was seen.
#[derive(Default, Debug)]
pub(super) struct Sky {
    state: Mutex<State>,
    /// Told when a fault begins or ends.
    changed: Notify,
}

#[derive(Default, Debug)]
struct State {
    rules: Vec<Arc<Rule>>,
    asked: Vec<Asked>,
    watches: Vec<(Asked, mpsc::UnboundedSender<Value>)>,
}

#[derive(Debug)]
struct Rule {
    requests: Requests,
    fault: Fault,
    limit: u64,
    struck: AtomicU64,
}

impl Spell {
    /// How often it has struck: requests that were delayed or refused, events that were held back or cut, answers and
    /// events that an edit was shown.
    pub fn struck(&self) -> u64 {
        self.rule.struck.load(Ordering::Relaxed)
    }
}

impl Drop for Spell {
    fn drop(&mut self) {
        let mut state = self.sky.lock();
        state.rules.retain(|rule| !Arc::ptr_eq(rule, &self.rule));
        drop(state);
        self.sky.changed.notify_waiters();
    }
}

impl Sky {
    pub(super) fn begin(self: &Arc<Self>, requests: Requests, fault: Fault, limit: u64) -> Spell {
        let rule = Arc::new(Rule {
            requests,
            fault,
            limit,
            struck: AtomicU64::new(0),
        });
        self.lock().rules.push(rule.clone());
        Spell {
            rule,
            sky: self.clone(),
        }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    pub(super) fn note(&self, asked: &Asked) {
        self.lock().asked.push(asked.clone());
    }

    /// The events that are injected into a watch that begins now; it ends when they are not received any more.
    pub(super) fn watch(&self, asked: &Asked) -> mpsc::UnboundedReceiver<Value> {
        let (sender, events) = mpsc::unbounded_channel();
        self.lock().watches.push((asked.clone(), sender));
        events
    }

    pub(super) fn inject(&self, requests: &Requests, event: &Value) -> usize {
        let state = self.lock();
        let open = state
            .watches
            .iter()
            .filter(|(asked, _)| requests.have(asked));
        open.filter(|(_, events)| events.send(event.clone()).is_ok())
            .count()
    }

    pub(super) fn open_watches(&self, requests: &Requests) -> usize {
        let mut state = self.lock();
        state.watches.retain(|(_, events)| !events.is_closed());
        let open = state
            .watches
            .iter()
            .filter(|(asked, _)| requests.have(asked));
        open.count()
    }

    /// How much later the answer begins.
    pub(super) fn delay(&self, asked: &Asked) -> Duration {
        self.strike(asked, |fault| match fault {
            Fault::Delay(delay) => Some(*delay),
            _ => None,
        })
        .sum()
    }

    /// The answer instead of the API server's.
    pub(super) fn refusal(&self, asked: &Asked) -> Option<Refusal> {
        self.strike(asked, |fault| match fault {
            Fault::Refuse(refusal) => Some(*refusal),
            _ => None,
        })
        .next()
    }

    /// The changes to an answer or event.
    pub(super) fn edits(&self, asked: &Asked) -> Vec<Edit> {
        self.strike(asked, |fault| match fault {
            Fault::Edit(edit) => Some(edit.clone()),
            _ => None,
        })
        .collect()
    }

    /// Whether the event is to be cut.
    pub(super) fn cuts_event(&self, asked: &Asked) -> bool {
        self.strike(asked, |fault| {
            matches!(fault, Fault::CutEvent).then_some(())
        })
        .next()
        .is_some()
    }

    /// Waits until nothing stalls the watch.
    pub(super) async fn calm(&self, asked: &Asked) {
        loop {
            // Listens before it looks, so that no end of a spell is missed.
            let changed = self.changed.notified();
            let stalled = self
                .strike(asked, |fault| matches!(fault, Fault::Stall).then_some(()))
                .next()
                .is_some();
            if !stalled {
                return;
            }
            changed.await;
        }
    }

    /// What the faults in force that `pick` picks do to a request, each counted as one more strike.
    fn strike<T>(
        &self,
        asked: &Asked,
        pick: impl Fn(&Fault) -> Option<T>,
    ) -> impl Iterator<Item = T> {
        let state = self.lock();
        let matching = state.rules.iter().filter(|rule| rule.requests.have(asked));
        let struck: Vec<T> = matching
            .filter_map(|rule| {
                let picked = pick(&rule.fault)?;
                // All that strikes holds the lock.
                let before = rule.struck.load(Ordering::Relaxed);
                (before < rule.limit).then(|| {
                    rule.struck.store(before + 1, Ordering::Relaxed);
                    picked
                })
            })
            .collect();
        struck.into_iter()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
