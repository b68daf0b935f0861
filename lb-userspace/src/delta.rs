//! The difference between desired and actual, as steps in an order that is safe after every single one: pure.
//!
//! The order: a frontend that goes is deleted first, for it makes room. Then what frontends refer to is put, then the
//! frontends; one that changes is replaced by one write. What no frontend refers to any more goes last. So no packet
//! finds a frontend with a slot whose backend is missing.

use std::ops::Range;
use std::sync::Arc;

use lb_common::frontend::Frontend;
use lb_common::vip_filter;

use crate::desired::{Rows, SlotWrites, Touched};
use crate::hashed::HashSet;
use crate::maps::{BackendKey, BackendRow, FrontendAt, Op, row};

/// What a step does; steps of a lesser phase come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Deletes frontends.
    DeleteFrontends,
    /// Deletes addresses' own rows, after their ports': meanwhile their packets are refused, not lost.
    DeleteAddressRows,
    /// Sets bits of the filter, before the frontends that it would hide.
    SetVipBits,
    /// Puts backends.
    PutBackends,
    /// Writes tables.
    WriteSlots,
    /// Puts the names of service ports.
    PutServices,
    /// Puts frontends.
    PutFrontends,
    /// Puts addresses' own rows, after their ports': before, they would refuse their packets.
    PutAddressRows,
    /// Deletes backends that no slot in use names.
    DeleteBackends,
    /// Deletes names of service ports.
    DeleteServices,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 10] = [
        Self::DeleteFrontends,
        Self::DeleteAddressRows,
        Self::SetVipBits,
        Self::PutBackends,
        Self::WriteSlots,
        Self::PutServices,
        Self::PutFrontends,
        Self::PutAddressRows,
        Self::DeleteBackends,
        Self::DeleteServices,
    ];
}

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The write.
    pub op: Op,
    /// The service ids that it is for: of the new row, and of the row that was there. 0 where there is none. Steps of a
    /// service port whose earlier step failed must not be done.
    pub owners: [u32; 2],
}

/// Where desired and actual may differ, in an order: keys of rows that are to be there, and of those that are not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    /// Of frontends that are no address's own row.
    ports: Changes<FrontendAt>,
    /// Of addresses' own rows.
    addresses: Changes<FrontendAt>,
    backends: Changes<BackendKey>,
    services: Changes<u32>,
    /// Of tables that are not written: the index of the first slot.
    tables: Vec<u32>,
}

/// Keys of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Changes<K> {
    puts: Vec<K>,
    deletes: Vec<K>,
}

impl<K: Ord> Changes<K> {
    /// In their order: rows that were made one after another are near each other, and so they are found faster.
    fn new(keys: impl Iterator<Item = K>, is_desired: impl Fn(&K) -> bool) -> Self {
        let (mut puts, mut deletes): (Vec<K>, Vec<K>) = keys.partition(is_desired);
        puts.sort_unstable();
        deletes.sort_unstable();
        Self { puts, deletes }
    }
}

impl Keys {
    /// The touched keys, and the tables to write.
    pub fn new(touched: &Touched, desired: &Rows, writes: &SlotWrites) -> Self {
        let frontends = |of_addresses: bool| {
            let keys = touched.frontends.iter();
            let keys = keys.filter(move |at| at.is_address_row() == of_addresses);
            Changes::new(keys.copied(), |at| desired.frontends.contains_key(at))
        };
        let backends = touched.backends.iter().copied();
        let services = touched.services.iter().copied();
        Self {
            ports: frontends(false),
            addresses: frontends(true),
            backends: Changes::new(backends, |key| desired.backends.contains_key(key)),
            services: Changes::new(services, |id| desired.services.contains_key(id)),
            tables: writes.keys().copied().collect(),
        }
    }

    /// Ranges of at most `size` keys which together are all that a phase may concern.
    pub fn parts(&self, phase: Phase, size: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let len = match phase {
            Phase::DeleteFrontends => self.ports.deletes.len(),
            Phase::DeleteAddressRows => self.addresses.deletes.len(),
            Phase::SetVipBits | Phase::PutAddressRows => self.addresses.puts.len(),
            Phase::PutBackends => self.backends.puts.len(),
            Phase::WriteSlots => self.tables.len(),
            Phase::PutServices => self.services.puts.len(),
            Phase::PutFrontends => self.ports.puts.len(),
            Phase::DeleteBackends => self.backends.deletes.len(),
            Phase::DeleteServices => self.services.deletes.len(),
        };
        (0..len)
            .step_by(size)
            .map(move |start| start..len.min(start + size))
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// What the maps should hold.
    pub desired: &'a Rows,
    /// Tables that are to be written.
    pub writes: &'a SlotWrites,
    /// What the maps hold.
    pub actual: &'a Rows,
    /// The words of `vip_filter`.
    pub filter: &'a [u64],
}

impl Compared<'_> {
    /// The steps of one phase, for a part of its keys. Done for all parts of all phases in their order, they make actual
    /// what is desired, wherever the keys say that it may differ.
    pub fn steps(&self, phase: Phase, keys: &Keys, part: Range<usize>) -> Vec<Step> {
        match phase {
            Phase::DeleteFrontends => self.frontends(&keys.ports.deletes[part], delete_frontend),
            Phase::DeleteAddressRows => {
                self.frontends(&keys.addresses.deletes[part], delete_frontend)
            }
            Phase::PutFrontends => self.frontends(&keys.ports.puts[part], put_frontend),
            Phase::PutAddressRows => self.frontends(&keys.addresses.puts[part], put_frontend),
            Phase::SetVipBits => self.vip_bits(&keys.addresses.puts[part]),
            Phase::PutBackends => self.backends(&keys.backends.puts[part], |key, new, old| {
                let new = new.filter(|new| old != Some(new))?;
                Some(Op::PutBackend(key.id, *new))
            }),
            Phase::DeleteBackends => self
                .backends(&keys.backends.deletes[part], |key, new, old| {
                    (new.is_none() && old.is_some()).then_some(Op::DeleteBackend(*key))
                }),
            Phase::PutServices => self.services(&keys.services.puts[part], |id| {
                let new = self.desired.services.get(&id)?;
                (self.actual.services.get(&id) != Some(new))
                    .then(|| Op::PutService(id, new.clone()))
            }),
            Phase::DeleteServices => self.services(&keys.services.deletes[part], |id| {
                let goes = !self.desired.services.contains_key(&id)
                    && self.actual.services.contains_key(&id);
                goes.then_some(Op::DeleteService(id))
            }),
            Phase::WriteSlots => self.tables(&keys.tables[part]),
        }
    }

    fn frontends(
        &self,
        keys: &[FrontendAt],
        op: fn(FrontendAt, Option<&Frontend>, Option<&Frontend>) -> Option<Op>,
    ) -> Vec<Step> {
        let step = |at: &FrontendAt| {
            let (new, old) = self.frontend(at);
            Some(Step {
                op: op(*at, new, old)?,
                owners: owners(new, old),
            })
        };
        keys.iter().filter_map(step).collect()
    }

    /// Bits that are set already are left out, and none occurs twice.
    fn vip_bits(&self, addresses: &[FrontendAt]) -> Vec<Step> {
        let mut seen = HashSet::default();
        let step = |at: &FrontendAt| {
            let (new, old) = self.frontend(at);
            new?;
            let bit = row::vip_bit(&at.address());
            let (word, mask) = vip_filter::word_and_mask(bit);
            let word = self.filter.get(word as usize)?;
            (word & mask == 0 && seen.insert(bit)).then(|| Step {
                op: Op::SetVipBit(bit),
                owners: owners(new, old),
            })
        };
        addresses.iter().filter_map(step).collect()
    }

    fn backends(
        &self,
        keys: &[BackendKey],
        op: fn(&BackendKey, Option<&BackendRow>, Option<&BackendRow>) -> Option<Op>,
    ) -> Vec<Step> {
        let owner = |row: Option<&BackendRow>| row.map_or(0, |row| row.service_id());
        let step = |key: &BackendKey| {
            let new = self.desired.backends.get(key);
            let old = self.actual.backends.get(key);
            Some(Step {
                op: op(key, new, old)?,
                owners: [owner(new), owner(old)],
            })
        };
        keys.iter().filter_map(step).collect()
    }

    fn services(&self, ids: &[u32], op: impl Fn(u32) -> Option<Op>) -> Vec<Step> {
        let step = |id: &u32| {
            Some(Step {
                op: op(*id)?,
                owners: [*id, 0],
            })
        };
        ids.iter().filter_map(step).collect()
    }

    fn tables(&self, offsets: &[u32]) -> Vec<Step> {
        let step = |offset: &u32| {
            let write = self.writes.get(offset)?;
            Some(Step {
                op: Op::WriteSlots {
                    offset: *offset,
                    ids: Arc::clone(&write.ids),
                },
                owners: [write.service_id, 0],
            })
        };
        offsets.iter().filter_map(step).collect()
    }

    /// The row that is to be, and the one that is.
    fn frontend(&self, at: &FrontendAt) -> (Option<&Frontend>, Option<&Frontend>) {
        (
            self.desired.frontends.get(at),
            self.actual.frontends.get(at),
        )
    }
}

fn owners(new: Option<&Frontend>, old: Option<&Frontend>) -> [u32; 2] {
    [new, old].map(|row| row.map_or(0, |row| row.service_id()))
}

fn put_frontend(at: FrontendAt, new: Option<&Frontend>, old: Option<&Frontend>) -> Option<Op> {
    let new = new.filter(|new| old != Some(new))?;
    Some(Op::PutFrontend(at, *new))
}

fn delete_frontend(at: FrontendAt, new: Option<&Frontend>, old: Option<&Frontend>) -> Option<Op> {
    (new.is_none() && old.is_some()).then_some(Op::DeleteFrontend(at))
}
