//! What is wrong at present, told once when it comes and once when it goes: in the log, and as an Event of the object.

use std::collections::BTreeMap;

use tracing::{info, warn};

use crate::desired::Problem;
use crate::events::{Events, Regarding};
use crate::reconciler::CidrProblem;

/// Reason of an Event about what is wrong with an object itself.
const INVALID: &str = "Invalid";
/// Reason of an Event about Service CIDRs that are not guarded.
const CIDRS_LEFT_OUT: &str = "ServiceCIDRsLeftOut";

/// Sentences that hold, by what they are about: one that only counts anew is not told again.
type Sentences = BTreeMap<String, String>;

/// The sentences that were told and still hold.
pub(super) struct Problems {
    objects: BTreeMap<String, Sentences>,
    services: Sentences,
    service_cidrs: Sentences,
    events: Events,
}

impl Problems {
    pub(super) fn new(events: Events) -> Self {
        Self {
            objects: BTreeMap::new(),
            services: Sentences::new(),
            service_cidrs: Sentences::new(),
            events,
        }
    }

    /// All that is wrong with an object of the source.
    pub(super) fn of_object(&mut self, object: &str, messages: &[String]) {
        let now: Sentences = messages.iter().map(|it| (it.clone(), it.clone())).collect();
        let before = self.objects.remove(object).unwrap_or_default();
        for (_, problem) in tell(&before, &now) {
            if let Some(regarding) = Regarding::named(object) {
                self.events.of_object(regarding, INVALID, problem);
            }
        }
        if !now.is_empty() {
            self.objects.insert(object.to_owned(), now);
        }
    }

    /// All that keeps Services from being served as they were asked for.
    pub(super) fn of_services(&mut self, problems: &[Problem]) {
        let by_identity: BTreeMap<String, &Problem> = problems
            .iter()
            .map(|problem| (problem.identity(), problem))
            .collect();
        let now: Sentences = by_identity
            .iter()
            .map(|(identity, problem)| (identity.clone(), problem.to_string()))
            .collect();
        for (identity, sentence) in tell(&self.services, &now) {
            let problem = by_identity[identity];
            let regarding = Regarding::Service(problem.service().clone());
            self.events.of_object(regarding, reason(problem), sentence);
        }
        self.services = now;
    }

    /// All that keeps packets to addresses that no Service has from being dropped.
    pub(super) fn of_service_cidrs(&mut self, problems: &[CidrProblem]) {
        let sentences = problems.iter().map(CidrProblem::to_string);
        let now: Sentences = sentences.map(|it| (it.clone(), it)).collect();
        for (_, sentence) in tell(&self.service_cidrs, &now) {
            self.events
                .of_node(CIDRS_LEFT_OUT, "DropUnallocated", sentence);
        }
        self.service_cidrs = now;
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

/// Logs what has come and what has gone, and returns what has come.
fn tell<'n>(before: &Sentences, now: &'n Sentences) -> Vec<(&'n String, &'n String)> {
    let came: Vec<_> = now
        .iter()
        .filter(|(key, _)| !before.contains_key(*key))
        .collect();
    for (_, problem) in &came {
        warn!("{problem}");
    }
    for (_, problem) in before.iter().filter(|(key, _)| !now.contains_key(*key)) {
        info!("no longer: {problem}");
    }
    came
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{Consequence, Exhausted, Resource};
    use crate::model::ObjectName;

    #[test]
    fn a_map_that_stays_full_is_told_of_once_however_full_it_is() {
        let full = |used, resource| Problem::Exhausted {
            service: ObjectName::new("shop", "cart"),
            consequence: Consequence::Removed,
            reason: Exhausted {
                resource,
                needed: 3,
                used,
                limit: 100,
            },
        };
        let sentences = |problems: &[Problem]| -> Sentences {
            let all = problems.iter();
            all.map(|it| (it.identity(), it.to_string())).collect()
        };
        let first = sentences(&[full(98, Resource::Backends)]);
        assert_eq!(tell(&Sentences::new(), &first).len(), 1);
        let again = sentences(&[full(99, Resource::Backends)]);
        assert_ne!(first, again);
        assert_eq!(tell(&first, &again), []);
        let other = sentences(&[full(99, Resource::Slots)]);
        assert_eq!(tell(&again, &other).len(), 1, "another map");
    }
}
