//! What is wrong at present, told once when it comes and once when it goes.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

/// The sentences that were told and still hold.
#[derive(Default)]
pub(super) struct Problems {
    objects: BTreeMap<String, BTreeSet<String>>,
    services: BTreeSet<String>,
}

impl Problems {
    /// All that is wrong with an object of the source.
    pub(super) fn of_object(&mut self, object: &str, messages: &[String]) {
        let now: BTreeSet<String> = messages.iter().cloned().collect();
        let before = self.objects.remove(object).unwrap_or_default();
        tell(&before, &now);
        if !now.is_empty() {
            self.objects.insert(object.to_owned(), now);
        }
    }

    /// All that keeps Services from being served as they were asked for.
    pub(super) fn of_services(&mut self, messages: impl Iterator<Item = String>) {
        let now: BTreeSet<String> = messages.collect();
        tell(&self.services, &now);
        self.services = now;
    }
}

fn tell(before: &BTreeSet<String>, now: &BTreeSet<String>) {
    for problem in now.difference(before) {
        warn!("{problem}");
    }
    for problem in before.difference(now) {
        info!("no longer: {problem}");
    }
}
