//! What an earlier agent left of Services that this one can't read, which stays as it is until it can.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::pool::Item;
use super::rows::{Rows, Touched};
use crate::maps::FrontendAt;
use crate::model::ObjectName;

/// Leftovers, by their service ids.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Leftovers {
    /// Service ports of which everything stays.
    whole: HashSet<u32>,
    /// Service ports of which the backends stay, for the flows that go to them.
    backends: HashSet<u32>,
    /// Addresses of frontends that stay, whose own rows stay with them.
    addresses: HashSet<IpAddr>,
}

impl Leftovers {
    /// Finds the rows of `unread` Services. `standing` says whether a Service is wanted all the same, and whether a service
    /// id is in use.
    pub(super) fn find(
        rows: &Rows,
        unread: &BTreeSet<ObjectName>,
        standing: impl Fn(&ObjectName, u32) -> (bool, bool),
    ) -> Self {
        let mut found = Self::default();
        if unread.is_empty() {
            return found;
        }
        for (id, name) in &rows.services {
            let service = ObjectName::new(name.namespace(), name.name());
            if !unread.contains(&service) {
                continue;
            }
            match standing(&service, *id) {
                (false, _) => {
                    found.whole.insert(*id);
                }
                (true, true) => {
                    found.backends.insert(*id);
                }
                (true, false) => {}
            }
        }
        let frontends = rows.frontends.iter();
        found.addresses = frontends
            .filter(|(at, row)| !at.is_address_row() && found.whole.contains(&row.service_id()))
            .map(|(at, _)| at.address())
            .collect();
        found
    }

    /// Whether something of a service port stays.
    pub(super) fn keep(&self, service_id: u32, item: &Item) -> bool {
        let is_backend = matches!(item, Item::Backend(_));
        self.whole.contains(&service_id) || (is_backend && self.backends.contains(&service_id))
    }

    /// The keys of all rows but those that stay.
    pub fn others(&self, rows: &Rows) -> Touched {
        let is_other = |at: &FrontendAt, service_id| {
            if at.is_address_row() {
                !self.addresses.contains(&at.address())
            } else {
                !self.whole.contains(&service_id)
            }
        };
        let frontends = rows.frontends.iter();
        let backends = rows.backends.iter();
        let services = rows.services.keys();
        Touched {
            frontends: frontends
                .filter(|(at, row)| is_other(at, row.service_id()))
                .map(|(at, _)| *at)
                .collect(),
            backends: backends
                .filter(|(key, row)| !self.keep(row.service_id(), &Item::Backend(**key)))
                .map(|(key, _)| *key)
                .collect(),
            services: services
                .filter(|id| !self.whole.contains(id))
                .copied()
                .collect(),
        }
    }
}
