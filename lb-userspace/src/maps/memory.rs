//! The maps in memory, for tests: they can be full, can fail on demand, and remember every operation in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::io;
use std::net::IpAddr;
use std::ops::Range;

use lb_common::affinity::Affinity;
use lb_common::backend;
use lb_common::config::Config;
use lb_common::frontend::Frontend;
use lb_common::layout::{limit, name};
use lb_common::service::ServiceName;
use lb_common::socket::SocketPeer;
use lb_common::{entries, reason, vip_filter};

use crate::maps::{AffinityRow, BackendRow, FlowRow, FrontendAt, Limits, MapError, Maps, Op, Walk};
use crate::model::{Cidr, Family};

/// Maps in memory.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Errors by the number of the operation that they befall, counted from 0.
    pub faults: BTreeMap<usize, i32>,
    /// The conntrack entries.
    pub flow_table: Vec<FlowRow>,
    /// Conntrack entries.
    pub conntrack: Vec<FlowRow>,
    /// The entries of flows that are not assured yet, or over.
    pub transient: Vec<FlowRow>,
    /// What becomes of walks over both.
    pub conntrack_walk: Walk,
    /// The clients that stay with a backend.
    pub affinity: Vec<AffinityRow>,
    /// What is remembered of sockets.
    pub socket_peers: Vec<SocketPeer>,
    /// The backends of sockets.
    pub socket_affinity: Vec<Affinity>,
    /// The counters.
    pub counters: Vec<u64>,
    /// How many entries of LRU maps were made and removed.
    pub lru_entries: Vec<u64>,
    limits: Limits,
    /// By family: `[IPv4, IPv6]`.
    frontends: [HashMap<FrontendAt, Frontend>; 2],
    /// By family: `[IPv4, IPv6]`.
    backends: [HashMap<u32, BackendRow>; 2],
    services: HashMap<u32, ServiceName>,
    slots: Vec<u32>,
    vip_filter: Vec<u64>,
    unserved: BTreeSet<IpAddr>,
    /// By family: `[IPv4, IPv6]`.
    service_cidrs: [Vec<Cidr>; 2],
    config: Config,
    tried: usize,
    log: Vec<Op>,
}

impl Memory {
    /// Empty maps.
    pub fn new(limits: Limits) -> Self {
        Self {
            faults: BTreeMap::new(),
            flow_table: Vec::new(),
            conntrack: Vec::new(),
            transient: Vec::new(),
            conntrack_walk: Walk::Complete,
            affinity: Vec::new(),
            socket_peers: Vec::new(),
            socket_affinity: Vec::new(),
            counters: vec![0; reason::COUNT as usize],
            lru_entries: vec![0; entries::COUNT as usize],
            limits,
            frontends: Default::default(),
            backends: Default::default(),
            services: HashMap::new(),
            slots: vec![0; limits.slots as usize],
            vip_filter: vec![0; vip_filter::WORDS as usize],
            unserved: BTreeSet::new(),
            service_cidrs: Default::default(),
            config: bytemuck::Zeroable::zeroed(),
            tried: 0,
            log: Vec::new(),
        }
    }

    /// Takes the operations that succeeded since the last call, in their order.
    pub fn take_log(&mut self) -> Vec<Op> {
        std::mem::take(&mut self.log)
    }

    /// Number of operations tried so far, which is the number of the next one.
    pub fn tried(&self) -> usize {
        self.tried
    }

    fn apply_one(&mut self, op: &Op) -> Result<(), MapError> {
        let number = self.tried;
        self.tried += 1;
        if let Some(errno) = self.faults.get(&number) {
            let error = io::Error::from_raw_os_error(*errno);
            return Err(MapError::write("memory", "do", format!("{op:?}"), error));
        }
        match op {
            Op::DeleteFrontend(at) => {
                self.frontends[at.family() as usize].remove(at);
            }
            Op::SetVipBit(bit) => {
                let (word, mask) = vip_filter::word_and_mask(*bit);
                self.vip_filter[word as usize] |= mask;
            }
            Op::ClearVipBit(bit) => {
                let (word, mask) = vip_filter::word_and_mask(*bit);
                self.vip_filter[word as usize] &= !mask;
            }
            Op::PutBackend(id, row) => {
                let key = row.key(*id);
                if *id > self.limits.backends {
                    let map = match key.family {
                        Family::V4 => name::BACKENDS_V4,
                        Family::V6 => name::BACKENDS_V6,
                    };
                    return Err(MapError::OutOfBounds {
                        map,
                        index: u64::from(*id),
                        len: backend::elements(self.limits.backends),
                    });
                }
                self.backends[key.family as usize].insert(*id, *row);
            }
            Op::WriteSlots { offset, ids } => {
                let range = *offset..offset.saturating_add(ids.len() as u32);
                self.check_slots(&range)?;
                self.slots[range.start as usize..range.end as usize].copy_from_slice(ids);
            }
            Op::PutService(id, row) => {
                put(
                    name::SERVICES,
                    &mut self.services,
                    *id,
                    **row,
                    self.limits.services,
                )?;
            }
            Op::PutFrontend(at, row) => {
                let map = match at.family() {
                    Family::V4 => name::FRONTENDS_V4,
                    Family::V6 => name::FRONTENDS_V6,
                };
                put(
                    map,
                    &mut self.frontends[at.family() as usize],
                    *at,
                    *row,
                    self.limits.frontends,
                )?;
            }
            Op::DeleteBackend(key) => {
                self.backends[key.family as usize].remove(&key.id);
            }
            Op::DeleteService(id) => {
                self.services.remove(id);
            }
            Op::PutUnserved(address) => {
                let family = Family::of(address);
                let map = match family {
                    Family::V4 => name::UNSERVED_V4,
                    Family::V6 => name::UNSERVED_V6,
                };
                let used = self.unserved.iter().filter(|it| Family::of(it) == family);
                if used.count() >= limit::UNSERVED as usize && !self.unserved.contains(address) {
                    let error = io::Error::from_raw_os_error(libc::E2BIG);
                    return Err(MapError::write(map, "put", address.to_string(), error));
                }
                self.unserved.insert(*address);
            }
            Op::DeleteUnserved(address) => {
                self.unserved.remove(address);
            }
            Op::PutServiceCidrs(family, cidrs) => {
                self.service_cidrs[*family as usize].clone_from(cidrs);
            }
            Op::PutConfig(config) => self.config = *config,
        }
        self.log.push(op.clone());
        Ok(())
    }

    fn check_slots(&self, range: &Range<u32>) -> Result<(), MapError> {
        if range.end > self.limits.slots {
            return Err(MapError::OutOfBounds {
                map: name::SLOTS,
                index: u64::from(range.start.max(self.limits.slots)),
                len: self.limits.slots,
            });
        }
        Ok(())
    }
}

impl Maps for Memory {
    fn frontends(&self) -> Result<Vec<(FrontendAt, Frontend)>, MapError> {
        Ok(self
            .frontends
            .iter()
            .flatten()
            .map(|(at, row)| (*at, *row))
            .collect())
    }

    fn backends(&self) -> Result<Vec<(u32, BackendRow)>, MapError> {
        Ok(self
            .backends
            .iter()
            .flatten()
            .map(|(id, row)| (*id, *row))
            .collect())
    }

    fn services(&self) -> Result<Vec<(u32, ServiceName)>, MapError> {
        Ok(self.services.iter().map(|(id, row)| (*id, *row)).collect())
    }

    fn slots(&self, range: Range<u32>) -> Result<Vec<u32>, MapError> {
        self.check_slots(&range)?;
        Ok(self.slots[range.start as usize..range.end as usize].to_vec())
    }

    fn vip_filter(&self) -> Result<Vec<u64>, MapError> {
        Ok(self.vip_filter.clone())
    }

    fn unserved(&self) -> Result<Vec<IpAddr>, MapError> {
        Ok(self.unserved.iter().copied().collect())
    }

    fn service_cidrs(&self) -> Result<Vec<Cidr>, MapError> {
        Ok(self.service_cidrs.concat())
    }

    fn config(&self) -> Result<Config, MapError> {
        Ok(self.config)
    }

    fn flow_table(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        self.flow_table.iter().copied().for_each(visit);
        Ok(Walk::Complete)
    }

    fn conntrack(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        self.conntrack.iter().copied().for_each(visit);
        Ok(self.conntrack_walk)
    }

    fn transient(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        self.transient.iter().copied().for_each(visit);
        Ok(self.conntrack_walk)
    }

    fn affinity(&self, visit: &mut dyn FnMut(AffinityRow)) -> Result<Walk, MapError> {
        self.affinity.iter().copied().for_each(visit);
        Ok(Walk::Complete)
    }

    fn socket_peers(&self, visit: &mut dyn FnMut(SocketPeer)) -> Result<Walk, MapError> {
        self.socket_peers.iter().copied().for_each(visit);
        Ok(Walk::Complete)
    }

    fn socket_affinity(&self, visit: &mut dyn FnMut(Affinity)) -> Result<Walk, MapError> {
        self.socket_affinity.iter().copied().for_each(visit);
        Ok(Walk::Complete)
    }

    fn counters(&self) -> Result<Vec<u64>, MapError> {
        Ok(self.counters.clone())
    }

    fn lru_entries(&self) -> Result<Vec<u64>, MapError> {
        Ok(self.lru_entries.clone())
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), MapError>> {
        ops.iter().map(|op| self.apply_one(op)).collect()
    }
}

fn put<K: Eq + Hash + fmt::Display, V>(
    map: &'static str,
    rows: &mut HashMap<K, V>,
    key: K,
    row: V,
    limit: u32,
) -> Result<(), MapError> {
    if !rows.contains_key(&key) && rows.len() >= limit as usize {
        let error = io::Error::from_raw_os_error(libc::E2BIG);
        return Err(MapError::write(map, "put", key.to_string(), error));
    }
    rows.insert(key, row);
    Ok(())
}
