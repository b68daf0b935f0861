//! Finds a place for the ports of one Service, all of them or none: what was taken for a plan that fails goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::backend::list;
use lb_common::service::ServiceName;

use super::adoptable::{Adoptable, Adopted};
use super::placed::{PlacedBackend, PlacedPort, PlacedPorts};
use super::pool::{Item, Pool};
use super::problem::Exhausted;
use super::table::{Scope, Table, fill};
use crate::few::Few;
use crate::maps::{BackendKey, FrontendAt};
use crate::model::Family;
use crate::resolve::{ResolvedEndpoint, ResolvedPort};

/// A service port to find a place for.
#[derive(Debug)]
pub struct Target<'a> {
    /// What it should do.
    pub port: &'a ResolvedPort,
    /// Its name as the map holds it.
    pub name: Arc<ServiceName>,
    /// The frontends that it has won, at least one.
    pub frontends: Few<FrontendAt, ()>,
}

/// A table that has to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotWrite {
    /// The service port.
    pub service_id: u32,
    /// Ids of the backends.
    pub ids: Arc<[u32]>,
    /// No frontend names the range yet.
    pub fresh: bool,
}

/// Slots to write, by the index of the first.
pub type SlotWrites = BTreeMap<u32, SlotWrite>;

/// A place for all ports of a Service.
#[derive(Debug)]
pub struct Plan {
    /// The ports.
    pub ports: PlacedPorts,
    /// The tables that differ from what their slots hold.
    pub writes: SlotWrites,
}

/// Makes a plan out of what the Service has, what can be adopted and what is free.
pub struct Planner<'a> {
    pool: &'a mut Pool,
    adoptable: &'a mut Adoptable,
    pending: &'a SlotWrites,
    settled: bool,
    taken: Vec<Item>,
    adopted: Vec<Adopted>,
    writes: SlotWrites,
}

impl<'a> Planner<'a> {
    /// Begins a plan. `pending` are the tables that are not written yet; `settled` says whether the first complete state
    /// has been written.
    pub fn new(
        pool: &'a mut Pool,
        adoptable: &'a mut Adoptable,
        pending: &'a SlotWrites,
        settled: bool,
    ) -> Self {
        Self {
            pool,
            adoptable,
            pending,
            settled,
            taken: Vec::new(),
            adopted: Vec::new(),
            writes: SlotWrites::new(),
        }
    }

    /// The plan, or what there is no room for.
    pub fn plan(mut self, targets: &[Target<'_>], old: &PlacedPorts) -> Result<Plan, Exhausted> {
        let mut ports = PlacedPorts::new();
        for target in targets {
            match self.place(target, old.get(&target.port.name)) {
                Ok(placed) => {
                    ports.insert(target.port.name.clone(), placed);
                }
                Err(exhausted) => {
                    self.taken
                        .into_iter()
                        .for_each(|item| self.pool.give_back(item));
                    self.adopted
                        .into_iter()
                        .for_each(|item| self.adoptable.put_back(item));
                    return Err(exhausted);
                }
            }
        }
        Ok(Plan {
            ports,
            writes: self.writes,
        })
    }

    fn place(
        &mut self,
        target: &Target<'_>,
        old: Option<&PlacedPort>,
    ) -> Result<PlacedPort, Exhausted> {
        let port = target.port;
        let id = match old {
            Some(old) => old.id,
            None => self.service_id(&target.name)?,
        };
        let mut placed = PlacedPort {
            id,
            name: target.name.clone(),
            frontends: target.frontends.clone(),
            backends: Few::new(),
            tables: Default::default(),
            internal_local: port.internal_local,
            has_endpoints: port.has_endpoints,
            affinity_seconds: port.affinity_seconds,
        };
        let families: BTreeSet<Family> = target.frontends.keys().map(FrontendAt::family).collect();
        let endpoints: BTreeMap<SocketAddr, &ResolvedEndpoint> = port
            .endpoints
            .iter()
            .filter(|endpoint| families.contains(&Family::of(&endpoint.address.ip())))
            .map(|endpoint| (endpoint.address, endpoint))
            .collect();
        // A flow through a frontend that now is another's, or nobody's, must not go on with its backend: new epochs end it
        // as they would if the backend were gone (S-51).
        let lost: BTreeSet<Family> = old
            .filter(|_| self.settled)
            .into_iter()
            .flat_map(|old| old.frontends.keys())
            .filter(|at| target.frontends.get(at).is_none())
            .map(FrontendAt::family)
            .collect();
        for (at, endpoint) in &endpoints {
            let known = old.and_then(|old| old.backends.get(at));
            let (key, epoch) = match known {
                Some(known) if lost.contains(&known.key.family) => {
                    (known.key, self.pool.take_epoch())
                }
                Some(known) => (known.key, known.epoch),
                None => self.backend_id(id, *at)?,
            };
            let lists = match (endpoint.cluster, endpoint.local) {
                (true, true) => list::CLUSTER | list::LOCAL,
                (true, false) => list::CLUSTER,
                (false, true) => list::LOCAL,
                (false, false) => 0,
            };
            let backend = PlacedBackend {
                key,
                epoch,
                state: endpoint.state.into(),
                lists,
            };
            placed.backends.insert(*at, backend);
        }
        for family in families {
            for scope in Scope::ALL {
                let members: Vec<(SocketAddr, u32)> = endpoints
                    .iter()
                    .filter(|(at, _)| Family::of(&at.ip()) == family)
                    .filter(|(_, endpoint)| match scope {
                        Scope::Cluster => endpoint.cluster,
                        Scope::Local => endpoint.local,
                    })
                    .map(|(at, _)| (*at, placed.backends[at].key.id))
                    .collect();
                let old = old.map(|old| old.table(family, scope));
                let table = self.table((id, family, scope), &members, old)?;
                placed.tables[family as usize][scope as usize] = table;
            }
        }
        Ok(placed)
    }

    fn service_id(&mut self, name: &ServiceName) -> Result<u32, Exhausted> {
        if let Some(adopted @ Adopted::Service(_, id)) = self.adoptable.service(name) {
            self.adopted.push(adopted);
            return Ok(id);
        }
        let id = self.pool.take_service()?;
        self.taken.push(Item::Service(id));
        Ok(id)
    }

    fn backend_id(
        &mut self,
        service_id: u32,
        at: SocketAddr,
    ) -> Result<(BackendKey, u32), Exhausted> {
        if let Some(adopted @ Adopted::Backend(_, found)) = self.adoptable.backend(service_id, at) {
            self.adopted.push(adopted);
            return Ok(found);
        }
        let family = Family::of(&at.ip());
        let (id, epoch) = self.pool.take_backend(family)?;
        let key = BackendKey { family, id };
        self.taken.push(Item::Backend(key));
        Ok((key, epoch))
    }

    fn table(
        &mut self,
        key: (u32, Family, Scope),
        members: &[(SocketAddr, u32)],
        old: Option<&Table>,
    ) -> Result<Table, Exhausted> {
        let mut table = Table {
            offset: 0,
            members: members.iter().map(|(_, id)| *id).collect(),
        };
        if table.is_empty() {
            return Ok(table);
        }
        if let Some(old) = old
            && old.members == table.members
        {
            return Ok(old.clone());
        }
        let ids = fill(members);
        if let Some(adopted) = self.adoptable.table(key, &ids) {
            if let Adopted::Table(_, (offset, _)) = &adopted {
                table.offset = *offset;
            }
            self.adopted.push(adopted);
            return Ok(table);
        }
        let fresh = match self.pool.take_slots(table.len()) {
            Ok(range) => {
                table.offset = range.start;
                self.taken.push(Item::Slots(range));
                true
            }
            Err(exhausted) => {
                // No room beside the old table. A table that is no longer can be written over it: readers see slots of
                // both for a moment, all of them good, because backends are put before and deleted after. It is the
                // balance of that moment that is lost, and a full array never keeps a dead endpoint in use.
                let old = old.filter(|old| !old.is_empty() && table.len() <= old.len());
                table.offset = old.ok_or(exhausted)?.offset;
                self.pending
                    .get(&table.offset)
                    .is_some_and(|write| write.fresh)
            }
        };
        let service_id = key.0;
        self.writes.insert(
            table.offset,
            SlotWrite {
                service_id,
                ids: ids.into(),
                fresh,
            },
        );
        Ok(table)
    }
}
