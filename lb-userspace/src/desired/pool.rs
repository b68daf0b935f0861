//! What is given out to service ports: ids, epochs, slots and room in the maps.
//!
//! What comes back is not given out again before the maps have let go of it and a grace period is over: a packet that is
//! under way may still hold the old row.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::ids::Ids;
use super::problem::{Exhausted, Resource};
use super::ranges::Ranges;
use crate::hashed::HashSet;
use crate::maps::{BackendKey, Limits};
use crate::model::Family;

/// How long ids and slots rest. A packet holds a row for microseconds; a program preempted in the middle of one, for
/// milliseconds.
pub const GRACE: Duration = Duration::from_secs(10);

/// Something that is given out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A service id, with room for its name.
    Service(u32),
    /// A backend id, which is where its row is.
    Backend(BackendKey),
    /// A range of slots.
    Slots(Range<u32>),
}

/// The pool.
#[derive(Debug)]
pub struct Pool {
    limits: Limits,
    service_ids: Ids,
    services_used: u32,
    /// By family.
    backend_ids: [Ids; 2],
    slots: Ranges,
    next_epoch: u32,
    retired: Vec<(u32, Item)>,
}

impl Pool {
    /// Everything free. Epochs begin above `last_epoch`.
    pub fn new(limits: Limits, last_epoch: u32) -> Self {
        Self {
            limits,
            service_ids: Ids::default(),
            services_used: 0,
            backend_ids: Default::default(),
            slots: Ranges::new(limits.slots),
            next_epoch: last_epoch.wrapping_add(1),
            retired: Vec::new(),
        }
    }

    /// Takes a service id.
    pub fn take_service(&mut self) -> Result<u32, Exhausted> {
        check(
            Resource::Services,
            1,
            self.services_used,
            self.limits.services,
        )?;
        self.services_used += 1;
        Ok(self.service_ids.take())
    }

    /// Takes a backend id, with an epoch that no backend has had.
    pub fn take_backend(&mut self, family: Family) -> Result<(u32, u32), Exhausted> {
        let ids = &mut self.backend_ids[family as usize];
        check(Resource::Backends, 1, ids.used(), self.limits.backends)?;
        Ok((ids.take(), self.take_epoch()))
    }

    /// Takes an epoch that no backend has had.
    pub fn take_epoch(&mut self) -> u32 {
        let epoch = self.next_epoch;
        self.next_epoch = self.next_epoch.wrapping_add(1);
        epoch
    }

    /// Takes a range of slots.
    pub fn take_slots(&mut self, len: u32) -> Result<Range<u32>, Exhausted> {
        self.slots.take(len).ok_or(Exhausted {
            resource: Resource::Slots,
            needed: len,
            used: self.slots.used(),
            limit: self.limits.slots,
        })
    }

    /// Whether frontends fit, when so many are in use without them.
    pub fn check_frontends(&self, needed: u32, used: u32) -> Result<(), Exhausted> {
        check(Resource::Frontends, needed, used, self.limits.frontends)
    }

    /// Takes a service id that a map holds; false if it can't be, because it is 0 or taken.
    pub fn reserve_service(&mut self, id: u32) -> bool {
        self.services_used += 1;
        self.service_ids.reserve(id)
    }

    /// Takes a backend id that a map holds; false if it can't be, because it is 0 or taken.
    pub fn reserve_backend(&mut self, key: BackendKey) -> bool {
        self.backend_ids[key.family as usize].reserve(key.id)
    }

    /// Takes what is free of a range of slots that a map holds.
    pub fn reserve_slots(&mut self, range: Range<u32>) -> Vec<Range<u32>> {
        self.slots.carve(range)
    }

    /// Takes back what no map has seen.
    pub fn give_back(&mut self, item: Item) {
        self.free_room(&item);
        match item {
            Item::Service(id) => self.service_ids.give_back(id),
            Item::Backend(key) => self.backend_ids[key.family as usize].give_back(key.id),
            Item::Slots(range) => self.slots.give_back(range),
        }
    }

    /// Takes back what the maps may hold, on behalf of a service port.
    pub fn retire(&mut self, service_id: u32, item: Item) {
        self.retired.push((service_id, item));
    }

    /// The maps have let go of what was retired, but for that of some service ports: the grace period begins. Whether it
    /// made room at once.
    pub fn release(&mut self, now: Instant, except: &HashSet<u32>) -> bool {
        let until = now + GRACE;
        let (held, released): (Vec<_>, Vec<_>) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition(|(service_id, _)| except.contains(service_id));
        self.retired = held;
        for (_, item) in &released {
            self.free_room(item);
        }
        let room = released
            .iter()
            .any(|(_, item)| matches!(item, Item::Service(_)));
        for (_, item) in released {
            match item {
                Item::Service(id) => self.service_ids.rest(id, until),
                Item::Backend(key) => self.backend_ids[key.family as usize].rest(key.id, until),
                Item::Slots(range) => self.slots.rest(range, until),
            }
        }
        room
    }

    /// Frees what has rested for the grace period; whether there was anything.
    pub fn wake(&mut self, now: Instant) -> bool {
        let [v4, v6] = &mut self.backend_ids;
        let ids = self.service_ids.wake(now) | v4.wake(now) | v6.wake(now);
        self.slots.wake(now) | ids
    }

    /// When slots or backend ids become free again.
    pub fn next_wake(&self) -> Option<Instant> {
        let ids = self.backend_ids.iter().filter_map(Ids::next_wake);
        ids.chain(self.slots.next_wake()).min()
    }

    fn free_room(&mut self, item: &Item) {
        match item {
            Item::Service(_) => self.services_used -= 1,
            // What rests has the place of its row.
            Item::Backend(_) | Item::Slots(_) => {}
        }
    }
}

fn check(resource: Resource, needed: u32, used: u32, limit: u32) -> Result<(), Exhausted> {
    if used.saturating_add(needed) <= limit {
        return Ok(());
    }
    Err(Exhausted {
        resource,
        needed,
        used,
        limit,
    })
}
