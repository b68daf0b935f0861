//! Replaces the place of a Service by another one: the rows, the tables to write, and what goes back into the pool.

use std::collections::BTreeMap;

use lb_common::frontend::Frontend;

use super::Desired;
use super::placed::{PlacedPort, PlacedPorts};
use super::plan::SlotWrites;
use super::pool::Item;
use crate::hashed::HashSet;
use crate::maps::FrontendAt;
use crate::model::ObjectName;

impl Desired {
    /// The frontends whose rows are this Service's, which another may have taken over already.
    pub(super) fn owned_frontends(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = &FrontendAt> {
        let ports = self
            .placed
            .get(service)
            .into_iter()
            .flat_map(PlacedPorts::values);
        ports.flat_map(|port| port.frontends.keys().filter(|at| self.owns(port, at)))
    }

    fn owns(&self, port: &PlacedPort, at: &FrontendAt) -> bool {
        self.rows
            .frontends
            .get(at)
            .is_some_and(|row| row.service_id() == port.id)
    }

    /// Replaces the place of a Service and the rows that follow from it.
    pub(super) fn replace(&mut self, service: &ObjectName, new: PlacedPorts, writes: SlotWrites) {
        let old = self.placed.remove(service).unwrap_or_default();
        for (name, port) in &old {
            let successor = new.get(name);
            for at in port.frontends.keys() {
                let goes = successor.is_none_or(|new| new.frontends.get(at).is_none());
                if goes && self.owns(port, at) {
                    self.set_frontend(*at, None);
                }
            }
            self.retire(port, successor);
        }
        self.writes.extend(writes);
        for port in new.values() {
            self.names.insert(port.id, service.clone());
            let before = self.rows.services.insert(port.id, port.name.clone());
            if before.as_ref() != Some(&port.name) {
                self.touched.services.insert(port.id);
            }
            for (key, row) in port.backend_rows() {
                if self.rows.backends.insert(key, row) != Some(row) {
                    self.touched.backends.insert(key);
                }
            }
            for at in port.frontends.keys() {
                self.set_frontend(*at, Some(port.frontend_row(at.family())));
            }
        }
        if !new.is_empty() {
            self.placed.insert(service.clone(), new);
        }
    }

    /// Gives up what a service port has and its successor does not.
    fn retire(&mut self, port: &PlacedPort, successor: Option<&PlacedPort>) {
        let kept: HashSet<_> = successor
            .into_iter()
            .flat_map(|new| new.backends.values().map(|b| b.key))
            .collect();
        for backend in port.backends.values().filter(|b| !kept.contains(&b.key)) {
            self.rows.backends.remove(&backend.key);
            self.touched.backends.insert(backend.key);
            self.pool.retire(port.id, Item::Backend(backend.key));
        }
        let kept: BTreeMap<u32, u32> = successor
            .into_iter()
            .flat_map(PlacedPort::used_tables)
            .map(|table| (table.offset, table.len()))
            .collect();
        for table in port.used_tables() {
            let mut gone = table.slots();
            gone.start += kept.get(&table.offset).copied().unwrap_or(0);
            if gone.is_empty() {
                continue;
            }
            let unseen = self
                .writes
                .get(&table.offset)
                .is_some_and(|write| write.fresh);
            if gone.start == table.offset {
                self.writes.remove(&table.offset);
            }
            if unseen {
                self.pool.give_back(Item::Slots(gone));
            } else {
                self.pool.retire(port.id, Item::Slots(gone));
            }
        }
        if successor.is_none() {
            self.rows.services.remove(&port.id);
            self.touched.services.insert(port.id);
            self.names.remove(&port.id);
            self.pool.retire(port.id, Item::Service(port.id));
        }
    }

    fn set_frontend(&mut self, at: FrontendAt, row: Option<Frontend>) {
        let old = match row {
            Some(row) => self.rows.frontends.insert(at, row),
            None => self.rows.frontends.remove(&at),
        };
        if old != row {
            self.touched.frontends.insert(at);
            self.count_frontend(at, old, row);
        }
    }

    /// Counts a frontend in, out or anew; an address's own row is there as long as a frontend of it is.
    fn count_frontend(&mut self, at: FrontendAt, old: Option<Frontend>, new: Option<Frontend>) {
        let has_endpoints =
            |row: Option<Frontend>| row.is_some_and(|r| r.flags() & Frontend::HAS_ENDPOINTS != 0);
        let address = at.address();
        let vip = self.vips.entry(address).or_default();
        let used = &mut self.frontends_used[at.family() as usize];
        if old.is_some() {
            *used -= 1;
            vip.frontends -= 1;
            vip.with_endpoints -= u32::from(has_endpoints(old));
        } else if vip.frontends == 0 {
            *used += 1;
            self.unserved_changed = true;
        }
        if new.is_some() {
            *used += 1;
            vip.frontends += 1;
            vip.with_endpoints += u32::from(has_endpoints(new));
        } else {
            self.room = true;
        }
        let row = (vip.frontends > 0).then(|| Frontend::address_row(vip.with_endpoints > 0));
        if row.is_none() {
            *used -= 1;
            self.vips.remove(&address);
            self.unserved_changed = true;
            self.gone_vips.push(address);
        }
        let address_row = FrontendAt::address_row(address);
        let before = match row {
            Some(row) => self.rows.frontends.insert(address_row, row),
            None => self.rows.frontends.remove(&address_row),
        };
        if before != row {
            self.touched.frontends.insert(address_row);
        }
    }
}
