//! What is wrong at present, told once when it comes and once when it goes: in the log, and as an Event of the object.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use crate::desired::Problem;
use crate::events::{Events, Regarding};

/// Reason of an Event about what is wrong with an object itself.
const INVALID: &str = "Invalid";

/// The sentences that were told and still hold.
pub(super) struct Problems {
    objects: BTreeMap<String, BTreeSet<String>>,
    services: BTreeSet<String>,
    events: Events,
}

impl Problems {
    pub(super) fn new(events: Events) -> Self {
        Self {
            objects: BTreeMap::new(),
            services: BTreeSet::new(),
            events,
        }
    }

    /// All that is wrong with an object of the source.
    pub(super) fn of_object(&mut self, object: &str, messages: &[String]) {
        let now: BTreeSet<String> = messages.iter().cloned().collect();
        let before = self.objects.remove(object).unwrap_or_default();
        tell(&before, &now, |problem| {
            if let Some(regarding) = Regarding::named(object) {
                self.events.of_object(regarding, INVALID, problem);
            }
        });
        if !now.is_empty() {
            self.objects.insert(object.to_owned(), now);
        }
    }

    /// All that keeps Services from being served as they were asked for.
    pub(super) fn of_services(&mut self, problems: &[Problem]) {
        let by_sentence: BTreeMap<String, &Problem> = problems
            .iter()
            .map(|problem| (problem.to_string(), problem))
            .collect();
        let now: BTreeSet<String> = by_sentence.keys().cloned().collect();
        tell(&self.services, &now, |sentence| {
            if let Some(problem) = by_sentence.get(sentence) {
                let regarding = Regarding::Service(problem.service().clone());
                self.events.of_object(regarding, reason(problem), sentence);
            }
        });
        self.services = now;
    }
}

fn reason(problem: &Problem) -> &'static str {
    match problem {
        Problem::Conflict { .. } => "AddressConflict",
        Problem::Exhausted { .. } => "MapFull",
        Problem::NameTooLong { .. } | Problem::DuplicatePort { .. } => INVALID,
        Problem::Write { .. } => "WriteFailed",
    }
}

fn tell(before: &BTreeSet<String>, now: &BTreeSet<String>, mut came: impl FnMut(&str)) {
    for problem in now.difference(before) {
        warn!("{problem}");
        came(problem);
    }
    for problem in before.difference(now) {
        info!("no longer: {problem}");
    }
}
