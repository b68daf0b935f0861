//! The maps in the kernel, opened by their pins. It makes and pins none.
//!
//! Rows of hash maps and of names that are written one after another go to the kernel in one system call. The arrays `backends_v4`,
//! `backends_v6`, `slots` and `vip_filter` are mapped into memory, so that a table of a thousand slots costs a thousand stores.

mod backends;
mod batch;
mod cidrs;
mod config;
mod error;
mod flow_array;
mod local_pods;
mod mapped;
mod open;
mod remote_pods;
mod table;
mod trie;
mod wire;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray};
use lb_common::affinity::{Affinity, AffinityKey, SocketAffinityKey};
use lb_common::config::Config;
use lb_common::conntrack::{ConntrackKey, Flow};
use lb_common::fragments::{Fragments, FragmentsKey, Held, HeldKey};
use lb_common::frontend::{Frontend, FrontendKey, SLOTS_PER_ELEMENT};
use lb_common::layout::name;
use lb_common::service::{self, ServiceName};
use lb_common::socket::{SocketKey, SocketPeer};
use lb_common::{entries, reason, vip_filter};

use crate::maps::row::{V4, V6};
use crate::maps::spec::NOT_SERVED;
use crate::maps::{AffinityRow, BackendRow, FlowRow, FrontendAt, Limits, MapError, Maps, Op, Walk};
use crate::model::{Cidr, Families, Family};
use backends::Backends;
use cidrs::Cidrs;
use config::ConfigElement;
use flow_array::PinnedFlows;
pub use flow_array::{FlowArray, Put};
pub use local_pods::LocalPodMaps;
use mapped::Mapped;
pub use open::Access;
use open::Pins;
pub use remote_pods::{RemotePodMaps, Ways};
use table::Table;
use trie::Trie;

/// Bits of a prefix that is an address alone.
const WHOLE_V4: u32 = 32;
const WHOLE_V6: u32 = 128;

/// The pinned maps of one data plane.
pub struct BpfMaps {
    frontends_v4: Table<FrontendKey<V4>, Frontend>,
    frontends_v6: Table<FrontendKey<V6>, Frontend>,
    backends_v4: Backends<V4>,
    backends_v6: Backends<V6>,
    flows_v4: PinnedFlows<V4>,
    flows_v6: PinnedFlows<V6>,
    conntrack_v4: Table<ConntrackKey<V4>, Flow<V4>>,
    conntrack_v6: Table<ConntrackKey<V6>, Flow<V6>>,
    transient_v4: Table<ConntrackKey<V4>, Flow<V4>>,
    transient_v6: Table<ConntrackKey<V6>, Flow<V6>>,
    affinity_v4: Table<AffinityKey<V4>, Affinity>,
    affinity_v6: Table<AffinityKey<V6>, Affinity>,
    services: Trie<[u8; service::PATH], ServiceName>,
    slots: Mapped,
    vip_filter: Mapped,
    unserved_v4: Trie<V4, u32>,
    unserved_v6: Trie<V6, u32>,
    service_cidr_v4: Cidrs<V4>,
    service_cidr_v6: Cidrs<V6>,
    counters: PerCpuArray<MapData, u64>,
    lru_entries: PerCpuArray<MapData, u64>,
    config: ConfigElement,
    socket_peers: Table<SocketKey, SocketPeer>,
    socket_affinity: Table<SocketAffinityKey, Affinity>,
}

impl BpfMaps {
    /// Opens the maps pinned in `dir` under their names.
    ///
    /// Reading needs no agent, and no more than the right to open the pins. Refuses a map of another shape than
    /// [`crate::maps::spec`] says, for its rows would be garbage.
    pub fn open(dir: &Path, access: Access) -> Result<Self, MapError> {
        let pins = Pins { dir, access };
        let maps = Self {
            frontends_v4: pins.table(name::FRONTENDS_V4)?,
            frontends_v6: pins.table(name::FRONTENDS_V6)?,
            backends_v4: Backends::open(&pins, name::BACKENDS_V4)?,
            backends_v6: Backends::open(&pins, name::BACKENDS_V6)?,
            flows_v4: PinnedFlows::open(&pins, name::FLOWS_V4)?,
            flows_v6: PinnedFlows::open(&pins, name::FLOWS_V6)?,
            conntrack_v4: pins.table(name::CONNTRACK_V4)?,
            conntrack_v6: pins.table(name::CONNTRACK_V6)?,
            transient_v4: pins.table(name::TRANSIENT_V4)?,
            transient_v6: pins.table(name::TRANSIENT_V6)?,
            affinity_v4: pins.table(name::AFFINITY_V4)?,
            affinity_v6: pins.table(name::AFFINITY_V6)?,
            services: pins.trie(name::SERVICES)?,
            slots: pins.mapped(name::SLOTS)?,
            vip_filter: pins.mapped(name::VIP_FILTER)?,
            unserved_v4: pins.trie(name::UNSERVED_V4)?,
            unserved_v6: pins.trie(name::UNSERVED_V6)?,
            service_cidr_v4: Cidrs::open(&pins, name::SERVICE_CIDR_V4)?,
            service_cidr_v6: Cidrs::open(&pins, name::SERVICE_CIDR_V6)?,
            counters: pins.typed(name::COUNTERS, |data| Map::PerCpuArray(data).try_into())?,
            lru_entries: pins.typed(name::LRU_ENTRIES, |data| Map::PerCpuArray(data).try_into())?,
            config: ConfigElement::open(&pins)?,
            socket_peers: pins.table(name::SOCKET_PEERS)?,
            socket_affinity: pins.table(name::SOCKET_AFFINITY)?,
        };
        // Nobody reads these here, but what has another shape is of another version.
        pins.check(name::REPLY_FILTER)?;
        pins.table::<FragmentsKey<V4>, Fragments<V4>>(name::FRAGMENTS_V4)?;
        pins.table::<FragmentsKey<V6>, Fragments<V6>>(name::FRAGMENTS_V6)?;
        pins.table::<HeldKey<V4>, Held>(name::HELD_V4)?;
        pins.table::<HeldKey<V6>, Held>(name::HELD_V6)?;
        LocalPodMaps::open(dir, access)?;
        RemotePodMaps::open(dir, access)?;
        Ok(maps)
    }

    /// The families that the maps were made for: no flag but that sets the size of these two.
    fn families(&self) -> Families {
        let rooms = [
            (Family::V4, self.unserved_v4.max_entries()),
            (Family::V6, self.unserved_v6.max_entries()),
        ];
        let served = rooms.into_iter().filter(|(_, room)| *room > NOT_SERVED);
        Families::of(served.map(|(family, _)| family)).unwrap_or(Families::Both)
    }

    /// Does operations that all put rows into the map of the first.
    fn put_run(&mut self, run: &[Op]) -> Vec<Result<(), MapError>> {
        let text = |index: usize| key_text(&run[index])();
        match &run[0] {
            Op::PutFrontend(FrontendAt::V4(_), _) => {
                let (keys, rows) = columns(run, |op| match op {
                    Op::PutFrontend(FrontendAt::V4(key), row) => Some((*key, *row)),
                    _ => None,
                });
                self.frontends_v4.put_all(&keys, &rows, &text)
            }
            Op::PutFrontend(FrontendAt::V6(_), _) => {
                let (keys, rows) = columns(run, |op| match op {
                    Op::PutFrontend(FrontendAt::V6(key), row) => Some((*key, *row)),
                    _ => None,
                });
                self.frontends_v6.put_all(&keys, &rows, &text)
            }
            Op::PutService(..) => {
                let (paths, rows) = columns(run, |op| match op {
                    Op::PutService(id, row) => Some((service::path(*id), **row)),
                    _ => None,
                });
                self.services.put_all(&paths, &rows, &text)
            }
            _ => run.iter().map(|op| self.apply_one(op)).collect(),
        }
    }

    fn apply_one(&mut self, op: &Op) -> Result<(), MapError> {
        match op {
            Op::DeleteFrontend(FrontendAt::V4(key)) => self.frontends_v4.delete(key, &key_text(op)),
            Op::DeleteFrontend(FrontendAt::V6(key)) => self.frontends_v6.delete(key, &key_text(op)),
            Op::PutFrontend(FrontendAt::V4(key), row) => {
                self.frontends_v4.put(key, row, &key_text(op))
            }
            Op::PutFrontend(FrontendAt::V6(key), row) => {
                self.frontends_v6.put(key, row, &key_text(op))
            }
            Op::PutBackend(id, BackendRow::V4(row)) => self.backends_v4.put(*id, row),
            Op::PutBackend(id, BackendRow::V6(row)) => self.backends_v6.put(*id, row),
            Op::DeleteBackend(key) => match key.family {
                Family::V4 => self.backends_v4.remove(key.id),
                Family::V6 => self.backends_v6.remove(key.id),
            },
            Op::PutService(id, row) => {
                let (bits, path) = service::path(*id);
                self.services.put(path, bits, **row, &key_text(op))
            }
            Op::DeleteService(id) => {
                let (bits, path) = service::path(*id);
                self.services.delete(path, bits, &key_text(op))
            }
            Op::WriteSlots { offset, ids } => self.slots.write_u32s(*offset, ids),
            Op::SetVipBit(bit) => self.change_vip_bit(*bit, true),
            Op::ClearVipBit(bit) => self.change_vip_bit(*bit, false),
            Op::PutUnserved(address) => {
                let (v4, v6) = (&mut self.unserved_v4, &mut self.unserved_v6);
                match address {
                    IpAddr::V4(ip) => v4.put(ip.octets(), WHOLE_V4, 1, &key_text(op)),
                    IpAddr::V6(ip) => v6.put(ip.octets(), WHOLE_V6, 1, &key_text(op)),
                }
            }
            Op::DeleteUnserved(address) => {
                let (v4, v6) = (&mut self.unserved_v4, &mut self.unserved_v6);
                match address {
                    IpAddr::V4(ip) => v4.delete(ip.octets(), WHOLE_V4, &key_text(op)),
                    IpAddr::V6(ip) => v6.delete(ip.octets(), WHOLE_V6, &key_text(op)),
                }
            }
            Op::PutServiceCidrs(Family::V4, cidrs) => self.service_cidr_v4.put(cidrs),
            Op::PutServiceCidrs(Family::V6, cidrs) => self.service_cidr_v6.put(cidrs),
            Op::PutConfig(config) => self.config.put(*config),
        }
    }

    fn change_vip_bit(&mut self, bit: u32, set: bool) -> Result<(), MapError> {
        let (word, mask) = vip_filter::word_and_mask(bit);
        let old = self.vip_filter.read_u64(word)?;
        let new = if set { old | mask } else { old & !mask };
        self.vip_filter.write_u64(word, new)
    }
}

impl Maps for BpfMaps {
    fn frontends(&self) -> Result<Vec<(FrontendAt, Frontend)>, MapError> {
        let mut rows = Vec::new();
        self.frontends_v4
            .each(&mut |key, row| rows.push((FrontendAt::V4(key), row)))?;
        self.frontends_v6
            .each(&mut |key, row| rows.push((FrontendAt::V6(key), row)))?;
        Ok(rows)
    }

    fn backends(&self) -> Result<Vec<(u32, BackendRow)>, MapError> {
        let v4 = self.backends_v4.rows()?.into_iter();
        let v6 = self.backends_v6.rows()?.into_iter();
        let v4 = v4.map(|(id, row)| (id, BackendRow::V4(row)));
        let v6 = v6.map(|(id, row)| (id, BackendRow::V6(row)));
        Ok(v4.chain(v6).collect())
    }

    fn services(&self) -> Result<Vec<(u32, ServiceName)>, MapError> {
        let mut rows = Vec::new();
        self.services
            .each(&mut |path, bits, row| rows.push((service::id(bits, path), row)))?;
        Ok(rows)
    }

    fn slots(&self, range: Range<u32>) -> Result<Vec<u32>, MapError> {
        self.slots.read_u32s(range)
    }

    fn vip_filter(&self) -> Result<Vec<u64>, MapError> {
        self.vip_filter.read_u64s(0..vip_filter::WORDS)
    }

    fn unserved(&self) -> Result<Vec<IpAddr>, MapError> {
        let mut rows = BTreeSet::<IpAddr>::new();
        self.unserved_v4.each(&mut |octets, _, _| {
            rows.insert(octets.into());
        })?;
        self.unserved_v6.each(&mut |octets, _, _| {
            rows.insert(octets.into());
        })?;
        Ok(rows.into_iter().collect())
    }

    fn service_cidrs(&self) -> Result<Vec<Cidr>, MapError> {
        let mut cidrs = self.service_cidr_v4.get()?;
        cidrs.extend(self.service_cidr_v6.get()?);
        Ok(cidrs)
    }

    fn config(&self) -> Result<Config, MapError> {
        self.config.get()
    }

    fn flow_table(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        self.flows_v4
            .each(&mut |flow| visit(FlowRow::v4(&flow.from_client(), flow)))?;
        self.flows_v6
            .each(&mut |flow| visit(FlowRow::v6(&flow.from_client(), flow)))?;
        Ok(Walk::Complete)
    }

    fn conntrack(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        let v4 = self
            .conntrack_v4
            .walk(&mut |key, flow| visit(FlowRow::v4(&key, &flow)))?;
        let v6 = self
            .conntrack_v6
            .walk(&mut |key, flow| visit(FlowRow::v6(&key, &flow)))?;
        Ok(v4.and(v6))
    }

    fn transient(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        let v4 = self
            .transient_v4
            .walk(&mut |key, flow| visit(FlowRow::v4(&key, &flow)))?;
        let v6 = self
            .transient_v6
            .walk(&mut |key, flow| visit(FlowRow::v6(&key, &flow)))?;
        Ok(v4.and(v6))
    }

    fn affinity(&self, visit: &mut dyn FnMut(AffinityRow)) -> Result<Walk, MapError> {
        let v4 = self
            .affinity_v4
            .walk(&mut |key, row| visit(AffinityRow::new(&key, &row)))?;
        let v6 = self
            .affinity_v6
            .walk(&mut |key, row| visit(AffinityRow::new(&key, &row)))?;
        Ok(v4.and(v6))
    }

    fn socket_peers(&self, visit: &mut dyn FnMut(SocketPeer)) -> Result<Walk, MapError> {
        self.socket_peers.walk(&mut |_, row| visit(row))
    }

    fn socket_affinity(&self, visit: &mut dyn FnMut(Affinity)) -> Result<Walk, MapError> {
        self.socket_affinity.walk(&mut |_, row| visit(row))
    }

    fn counters(&self) -> Result<Vec<u64>, MapError> {
        sums(name::COUNTERS, &self.counters, reason::COUNT)
    }

    fn lru_entries(&self) -> Result<Vec<u64>, MapError> {
        sums(name::LRU_ENTRIES, &self.lru_entries, entries::COUNT)
    }

    fn limits(&self) -> Limits {
        let families = self.families();
        // One that is not served is no limit to the other.
        let least = |[v4, v6]: [u32; 2]| match families {
            Families::Only(Family::V4) => v4,
            Families::Only(Family::V6) => v6,
            Families::Both => v4.min(v6),
        };
        Limits {
            families,
            frontends: least([
                self.frontends_v4.max_entries(),
                self.frontends_v6.max_entries(),
            ]),
            backends: least([self.backends_v4.max(), self.backends_v6.max()]),
            slots: self.slots.elements() * SLOTS_PER_ELEMENT,
            services: self.services.max_entries(),
            flows: least([self.flows_v4.room(), self.flows_v6.room()]),
            conntrack: least([
                self.conntrack_v4.max_entries(),
                self.conntrack_v6.max_entries(),
            ]),
            transient: least([
                self.transient_v4.max_entries(),
                self.transient_v6.max_entries(),
            ]),
            affinity: least([
                self.affinity_v4.max_entries(),
                self.affinity_v6.max_entries(),
            ])
            .min(self.socket_affinity.max_entries()),
            sockets: self.socket_peers.max_entries(),
        }
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), MapError>> {
        let mut results = Vec::with_capacity(ops.len());
        for run in ops.chunk_by(put_into_one_map) {
            match run {
                [one] => results.push(self.apply_one(one)),
                run => results.extend(self.put_run(run)),
            }
        }
        results
    }
}

/// The elements of an array, each summed over all CPUs.
fn sums(
    name: &'static str,
    map: &PerCpuArray<MapData, u64>,
    elements: u32,
) -> Result<Vec<u64>, MapError> {
    (0..elements)
        .map(|index| match map.get(&index, 0) {
            Ok(per_cpu) => Ok(per_cpu.iter().sum()),
            Err(e) => Err(error::write(name, "read", index.to_string(), e)),
        })
        .collect()
}

/// Whether two operations put rows into the same map.
fn put_into_one_map(one: &Op, other: &Op) -> bool {
    match (one, other) {
        (Op::PutFrontend(one, _), Op::PutFrontend(other, _)) => one.family() == other.family(),
        (Op::PutService(..), Op::PutService(..)) => true,
        _ => false,
    }
}

/// Keys and values of operations that all put one kind of row.
fn columns<K, V>(run: &[Op], row: impl Fn(&Op) -> Option<(K, V)>) -> (Vec<K>, Vec<V>) {
    let mut keys = Vec::with_capacity(run.len());
    let mut values = Vec::with_capacity(run.len());
    for (key, value) in run.iter().filter_map(row) {
        keys.push(key);
        values.push(value);
    }
    (keys, values)
}

/// Writes the key of an operation in words, only when somebody asks.
fn key_text(op: &Op) -> impl Fn() -> String + '_ {
    move || match op {
        Op::DeleteFrontend(at) | Op::PutFrontend(at, _) => format!("frontend {at}"),
        Op::PutService(id, row) => format!("service {id} ({}/{})", row.namespace(), row.name()),
        Op::DeleteService(id) => format!("service {id}"),
        Op::PutUnserved(address) | Op::DeleteUnserved(address) => format!("address {address}"),
        other => format!("{other:?}"),
    }
}
