//! What the maps should hold, kept up to date Service by Service: a change costs what that Service costs.
//!
//! It gives out ids, epochs and slots, settles who gets a contested frontend, and refuses a Service that there is no
//! room for as a whole. It reads and writes no map; it is told what the maps held at the start, and when they have let go
//! of what is no longer desired.

mod adoptable;
mod claims;
mod ids;
mod leftovers;
mod place;
mod placed;
mod plan;
mod pool;
mod problem;
mod ranges;
mod replace;
mod resting;
mod rows;
mod table;
mod unserved;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::hashed::{HashMap, HashSet};
use crate::maps::{FrontendAt, Limits};
use crate::model::ObjectName;
use crate::resolve::ResolvedPort;
use adoptable::Adoptable;
use claims::Claims;
use placed::PlacedPorts;
use pool::Pool;

pub use adoptable::Contents;
pub use leftovers::Leftovers;
pub use plan::{SlotWrite, SlotWrites};
pub use pool::GRACE;
pub use problem::{Consequence, Exhausted, Problem, Resource};
pub use rows::{Rows, Touched};

/// The desired state.
#[derive(Debug)]
pub struct Desired {
    wanted: HashMap<ObjectName, Arc<[ResolvedPort]>>,
    claims: Claims,
    placed: HashMap<ObjectName, PlacedPorts>,
    names: HashMap<u32, ObjectName>,
    rows: Rows,
    touched: Touched,
    writes: SlotWrites,
    vips: HashMap<IpAddr, Vip>,
    frontends_used: [u32; 2],
    gone_vips: Vec<IpAddr>,
    resting_vips: VecDeque<(Instant, IpAddr)>,
    problems: BTreeMap<ObjectName, Vec<Problem>>,
    /// The addresses of Services that are not to be served.
    unserved: HashMap<ObjectName, Box<[IpAddr]>>,
    /// What has no frontend though it is a Service's may have changed.
    unserved_changed: bool,
    refused: BTreeSet<ObjectName>,
    /// Something was freed since the refused Services were tried last.
    room: bool,
    pool: Pool,
    adoptable: Adoptable,
    /// The first complete state has been written: until then Services are read one by one, and what one of them loses to
    /// another it may never have had.
    settled: bool,
}

/// What the row of a VIP follows from.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Vip {
    /// Number of its frontends, its own row not counted.
    frontends: u32,
    /// Those of them that have an endpoint somewhere.
    with_endpoints: u32,
}

impl Desired {
    /// Nothing desired yet, on maps that hold `rows`, whose ranges of slots have `contents` and whose backends and flows
    /// know epochs up to `last_epoch`.
    pub fn restore(limits: Limits, rows: &Rows, contents: &Contents, last_epoch: u32) -> Self {
        let mut pool = Pool::new(limits, last_epoch);
        let adoptable = Adoptable::find(rows, contents, &mut pool);
        Self {
            wanted: HashMap::default(),
            claims: Claims::default(),
            placed: HashMap::default(),
            names: HashMap::default(),
            rows: Rows::default(),
            touched: Touched::default(),
            writes: SlotWrites::new(),
            vips: HashMap::default(),
            frontends_used: [0; 2],
            gone_vips: Vec::new(),
            resting_vips: VecDeque::new(),
            problems: BTreeMap::new(),
            unserved: HashMap::default(),
            unserved_changed: true,
            refused: BTreeSet::new(),
            room: false,
            pool,
            adoptable,
            settled: false,
        }
    }

    /// Sets the ports of a Service; none for a Service that is gone or not served.
    pub fn apply(&mut self, service: &ObjectName, ports: Vec<ResolvedPort>) {
        let old = self.wanted.get(service).map_or(&[][..], |ports| ports);
        if *old == *ports {
            return;
        }
        let affected = self.claims.replace(service, old, &ports);
        if ports.is_empty() {
            self.wanted.remove(service);
        } else {
            self.wanted.insert(service.clone(), ports.into());
        }
        self.place(service);
        for other in &affected {
            self.place(other);
        }
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The tables that have to be written.
    pub fn writes(&self) -> &SlotWrites {
        &self.writes
    }

    /// Takes the keys of the rows that have changed since the last call.
    pub fn take_touched(&mut self) -> Touched {
        mem::take(&mut self.touched)
    }

    /// Keys of rows that could not be written and have to be compared again.
    pub fn touch_mut(&mut self) -> &mut Touched {
        &mut self.touched
    }

    /// A table has been written.
    pub fn written(&mut self, offset: u32) {
        self.writes.remove(&offset);
    }

    /// What of `rows` was there at the start and is to stay as it is, because these Services or slices of them can't be
    /// read. Of one that has a place here nothing but its backends is not known.
    pub fn leftovers(&self, rows: &Rows, unread: &BTreeSet<ObjectName>) -> Leftovers {
        Leftovers::find(rows, unread, |service, id| {
            let placed = self.wanted.contains_key(service);
            (placed, self.names.contains_key(&id))
        })
    }

    /// All sources are complete: what nobody has adopted until now is to go, those leftovers excepted.
    pub fn adopt_no_more(&mut self, except: &Leftovers) {
        self.settled = true;
        let (rest, kept) = mem::take(&mut self.adoptable).into_rest(except);
        self.adoptable = kept;
        for (service_id, item) in rest {
            self.pool.retire(service_id, item);
        }
    }

    /// Frees what has rested for the grace period, then tries the refused Services again if there is more room than at
    /// the last try, or if `force` says so.
    pub fn wake(&mut self, now: Instant, force: bool) {
        self.room |= self.pool.wake(now);
        while self
            .resting_vips
            .front()
            .is_some_and(|(until, _)| *until <= now)
        {
            self.resting_vips.pop_front();
        }
        if mem::take(&mut self.room) || force {
            for service in self.refused.clone() {
                self.place(&service);
            }
            // What the tries themselves freed was theirs.
            self.room = false;
        }
    }

    /// The maps have let go of everything that is not desired, but for what belongs to the service ports `except`.
    pub fn release(&mut self, now: Instant, except: &HashSet<u32>) {
        self.room |= self.pool.release(now, except);
        let until = now + GRACE;
        self.resting_vips
            .extend(self.gone_vips.drain(..).map(|vip| (until, vip)));
    }

    /// When something that refused Services wait for may become free.
    pub fn next_wake(&self) -> Option<Instant> {
        if self.refused.is_empty() {
            return None;
        }
        self.pool.next_wake()
    }

    /// Whether refused Services can be tried again at once.
    pub fn has_room_for_refused(&self) -> bool {
        self.room && !self.refused.is_empty()
    }

    /// The addresses whose bit in the filter is needed, whatever conntrack says: VIPs, and those that were until a moment
    /// ago.
    pub fn filtered_vips(&self) -> impl Iterator<Item = &IpAddr> {
        let resting = self.resting_vips.iter().map(|(_, vip)| vip);
        self.vips.keys().chain(&self.gone_vips).chain(resting)
    }

    /// The problems that there are now.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// The Service of a service id.
    pub fn service_of(&self, service_id: u32) -> Option<&ObjectName> {
        self.names.get(&service_id)
    }

    /// The frontends of a Service.
    pub fn frontends_of(&self, service: &ObjectName) -> impl Iterator<Item = &FrontendAt> {
        let ports = self
            .placed
            .get(service)
            .into_iter()
            .flat_map(PlacedPorts::values);
        ports.flat_map(|port| port.frontends.keys())
    }

    /// Removes a Service that the kernel has no room for, until it is tried again.
    pub fn withdraw(&mut self, service: &ObjectName, problem: Problem) {
        self.unserved_changed = true;
        self.replace(service, PlacedPorts::new(), SlotWrites::new());
        self.problems
            .entry(service.clone())
            .or_default()
            .push(problem);
        self.refused.insert(service.clone());
    }
}
