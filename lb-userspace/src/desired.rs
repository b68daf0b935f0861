//! What the maps should hold, kept up to date Service by Service: a change costs what that Service costs.
//!
//! It gives out ids, epochs and slots, settles who gets a contested frontend, and refuses a Service that there is no
//! room for as a whole. It reads and writes no map; it is told what the maps held at the start, and when they have let go
//! of what is no longer desired.

mod adoptable;
mod claims;
mod ids;
mod placed;
mod plan;
mod pool;
mod problem;
mod ranges;
mod rows;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lb_common::frontend::Frontend;
use lb_common::service::ServiceName;

use crate::maps::{FrontendAt, Limits};
use crate::model::ObjectName;
use crate::resolve::ResolvedPort;
use adoptable::Adoptable;
use claims::Claims;
use placed::{PlacedPort, PlacedPorts};
use plan::{Planner, Target};
use pool::{Item, Pool};

pub use adoptable::Contents;
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
    /// Number of frontends of each VIP, its own row not counted.
    vips: HashMap<IpAddr, u32>,
    frontends_used: [u32; 2],
    gone_vips: Vec<IpAddr>,
    resting_vips: VecDeque<(Instant, IpAddr)>,
    problems: BTreeMap<ObjectName, Vec<Problem>>,
    refused: BTreeSet<ObjectName>,
    /// Something was freed since the refused Services were tried last.
    room: bool,
    pool: Pool,
    adoptable: Adoptable,
}

impl Desired {
    /// Nothing desired yet, on maps that hold `rows`, whose ranges of slots have `contents` and whose backends and flows
    /// know epochs up to `last_epoch`.
    pub fn restore(limits: Limits, rows: &Rows, contents: &Contents, last_epoch: u32) -> Self {
        let mut pool = Pool::new(limits, last_epoch);
        let adoptable = Adoptable::find(rows, contents, &mut pool);
        Self {
            wanted: HashMap::new(),
            claims: Claims::default(),
            placed: HashMap::new(),
            names: HashMap::new(),
            rows: Rows::default(),
            touched: Touched::default(),
            writes: SlotWrites::new(),
            vips: HashMap::new(),
            frontends_used: [0; 2],
            gone_vips: Vec::new(),
            resting_vips: VecDeque::new(),
            problems: BTreeMap::new(),
            refused: BTreeSet::new(),
            room: false,
            pool,
            adoptable,
        }
    }

    /// Sets the ports of a Service; none for a Service that is gone or not served.
    pub fn apply(&mut self, service: &ObjectName, ports: Vec<ResolvedPort>) {
        let old = self.wanted.get(service).map_or(&[][..], |ports| ports);
        if *old == *ports {
            return;
        }
        let affected = self.claims.replace(service, &ports);
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

    /// All sources are complete: what nobody has adopted until now is to go.
    pub fn adopt_no_more(&mut self) {
        for (service_id, item) in mem::take(&mut self.adoptable).into_rest() {
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
        ports.flat_map(|port| &port.frontends)
    }

    /// Removes a Service that the kernel has no room for, until it is tried again.
    pub fn withdraw(&mut self, service: &ObjectName, problem: Problem) {
        self.replace(service, PlacedPorts::new(), SlotWrites::new());
        self.problems
            .entry(service.clone())
            .or_default()
            .push(problem);
        self.refused.insert(service.clone());
    }

    /// Gives a Service its place according to what is wanted now.
    fn place(&mut self, service: &ObjectName) {
        self.problems.remove(service);
        self.refused.remove(service);
        let wanted = self.wanted.get(service).cloned().unwrap_or_default();
        let mut problems = Vec::new();
        let targets = self.targets(&wanted, &mut problems);
        if let Err(reason) = self.place_targets(service, &targets) {
            let consequence = if self.is_still_good(service, &targets) {
                Consequence::Kept
            } else {
                self.replace(service, PlacedPorts::new(), SlotWrites::new());
                Consequence::Removed
            };
            problems.push(Problem::Exhausted {
                service: service.clone(),
                consequence,
                reason,
            });
            self.refused.insert(service.clone());
        }
        if !problems.is_empty() {
            self.problems.insert(service.clone(), problems);
        }
    }

    /// The ports that get a place: those with a good name that have won a frontend.
    fn targets<'a>(
        &self,
        wanted: &'a [ResolvedPort],
        problems: &mut Vec<Problem>,
    ) -> Vec<Target<'a>> {
        let mut targets = Vec::new();
        let mut names = HashSet::new();
        for port in wanted {
            if !names.insert(&port.name) {
                problems.push(Problem::DuplicatePort {
                    port: port.name.clone(),
                });
                continue;
            }
            let id = &port.name;
            let name = ServiceName::new(
                &id.service.namespace,
                &id.service.name,
                &id.port_name,
                id.protocol,
            );
            let Some(name) = name else {
                problems.push(Problem::NameTooLong { port: id.clone() });
                continue;
            };
            let mut frontends = BTreeSet::new();
            for socket in &port.frontends {
                let at = FrontendAt::new(*socket, id.protocol);
                match self.claims.winner(&at) {
                    Some(winner) if winner != id => problems.push(Problem::Conflict {
                        port: id.clone(),
                        frontend: at,
                        winner: winner.clone(),
                    }),
                    _ => {
                        frontends.insert(at);
                    }
                }
            }
            if !frontends.is_empty() {
                targets.push(Target {
                    port,
                    name,
                    frontends,
                });
            }
        }
        targets
    }

    fn place_targets(
        &mut self,
        service: &ObjectName,
        targets: &[Target<'_>],
    ) -> Result<(), Exhausted> {
        self.check_frontends(service, targets)?;
        let none = PlacedPorts::new();
        let old = self.placed.get(service).unwrap_or(&none);
        let planner = Planner::new(&mut self.pool, &mut self.adoptable, &self.writes);
        let plan = planner.plan(targets, old)?;
        self.replace(service, plan.ports, plan.writes);
        Ok(())
    }

    /// Whether the frontends of a Service would fit, the addresses' own rows counted.
    fn check_frontends(
        &self,
        service: &ObjectName,
        targets: &[Target<'_>],
    ) -> Result<(), Exhausted> {
        let new: BTreeSet<&FrontendAt> = targets
            .iter()
            .flat_map(|target| &target.frontends)
            .collect();
        let old: BTreeSet<&FrontendAt> = self.owned_frontends(service).collect();
        let mut change = [0_i64; 2];
        let mut vips: HashMap<IpAddr, i64> = HashMap::new();
        for at in new
            .iter()
            .filter(|at| !self.rows.frontends.contains_key(at))
        {
            change[at.family() as usize] += 1;
            *vips.entry(at.address()).or_default() += 1;
        }
        for at in old.difference(&new) {
            change[at.family() as usize] -= 1;
            *vips.entry(at.address()).or_default() -= 1;
        }
        for (vip, difference) in vips {
            let before = i64::from(self.vips.get(&vip).copied().unwrap_or(0));
            let family = FrontendAt::address_row(vip).family() as usize;
            change[family] += i64::from(before + difference > 0) - i64::from(before > 0);
        }
        for (used, change) in self.frontends_used.iter().zip(change) {
            if let Ok(needed) = u32::try_from(change) {
                self.pool.check_frontends(needed, *used)?;
            }
        }
        Ok(())
    }

    /// The frontends whose rows are this Service's, which another may have taken over already.
    fn owned_frontends(&self, service: &ObjectName) -> impl Iterator<Item = &FrontendAt> {
        let ports = self
            .placed
            .get(service)
            .into_iter()
            .flat_map(PlacedPorts::values);
        ports.flat_map(|port| port.frontends.iter().filter(|at| self.owns(port, at)))
    }

    fn owns(&self, port: &PlacedPort, at: &FrontendAt) -> bool {
        self.rows
            .frontends
            .get(at)
            .is_some_and(|row| row.service_id() == port.id)
    }

    /// Whether the place that a Service has does no harm: the same frontends and policy, and no endpoint that is gone.
    fn is_still_good(&self, service: &ObjectName, targets: &[Target<'_>]) -> bool {
        let Some(placed) = self.placed.get(service) else {
            return false;
        };
        placed.len() == targets.len()
            && targets.iter().all(|target| {
                placed.get(&target.port.name).is_some_and(|old| {
                    let endpoints: HashSet<_> =
                        target.port.endpoints.iter().map(|e| e.address).collect();
                    old.frontends == target.frontends
                        && old.internal_local == target.port.internal_local
                        && old.selected().all(|at| endpoints.contains(at))
                })
            })
    }

    /// Replaces the place of a Service and the rows that follow from it.
    fn replace(&mut self, service: &ObjectName, new: PlacedPorts, writes: SlotWrites) {
        let old = self.placed.remove(service).unwrap_or_default();
        for (name, port) in &old {
            let successor = new.get(name);
            for at in &port.frontends {
                let goes = successor.is_none_or(|new| !new.frontends.contains(at));
                if goes && self.owns(port, at) {
                    self.set_frontend(*at, None);
                }
            }
            self.retire(port, successor);
        }
        self.writes.extend(writes);
        for port in new.values() {
            self.names.insert(port.id, service.clone());
            if self.rows.services.insert(port.id, port.name) != Some(port.name) {
                self.touched.services.insert(port.id);
            }
            for (key, row) in port.backend_rows() {
                if self.rows.backends.insert(key, row) != Some(row) {
                    self.touched.backends.insert(key);
                }
            }
            for at in &port.frontends {
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
        }
        match (old, row) {
            (None, Some(_)) => self.count_frontend(at, true),
            (Some(_), None) => self.count_frontend(at, false),
            _ => {}
        }
    }

    /// Counts a frontend in or out; an address's own row is there as long as a frontend of it is.
    fn count_frontend(&mut self, at: FrontendAt, comes: bool) {
        let used = &mut self.frontends_used[at.family() as usize];
        let vip = at.address();
        let count = self.vips.entry(vip).or_default();
        let address_row = FrontendAt::address_row(vip);
        if comes {
            *used += 1;
            *count += 1;
            if *count == 1 {
                *used += 1;
                self.rows
                    .frontends
                    .insert(address_row, Frontend::address_row());
                self.touched.frontends.insert(address_row);
            }
        } else {
            *used -= 1;
            *count -= 1;
            self.room = true;
            if *count == 0 {
                *used -= 1;
                self.vips.remove(&vip);
                self.gone_vips.push(vip);
                self.rows.frontends.remove(&address_row);
                self.touched.frontends.insert(address_row);
            }
        }
    }
}
