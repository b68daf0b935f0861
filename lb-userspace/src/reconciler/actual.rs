//! What the maps hold: read once at the start, kept up with every write that succeeds.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use lb_common::vip_filter;
use tracing::warn;

use crate::desired::{Contents, Rows};
use crate::maps::{MapError, Maps, Op, Walk};
use crate::model::Cidr;

/// How far epochs are moved on where not everything could be seen that knows one: more than there can be backends whose row is
/// gone and of which only flows that were not seen are left, and so few that 32 bits last for thousands of starts.
const UNSEEN_EPOCHS: u32 = 1_000_000;

/// Content of the maps that the agent writes.
#[derive(Clone, Debug)]
pub struct Actual {
    /// The rows.
    pub rows: Rows,
    /// The words of `vip_filter`.
    pub filter: Vec<u64>,
    /// Addresses that a Service has and that are not served.
    pub unserved: BTreeSet<IpAddr>,
    /// The Service CIDRs.
    pub service_cidrs: BTreeSet<Cidr>,
}

/// What a write was to what was known before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recorded {
    /// It has put a frontend where there was none.
    New,
    /// Anything else.
    Known,
}

impl Actual {
    /// Reads the maps.
    pub fn read(maps: &dyn Maps) -> Result<Self, MapError> {
        let backends = maps.backends()?.into_iter();
        Ok(Self {
            rows: Rows {
                frontends: maps.frontends()?.into_iter().collect(),
                backends: backends.map(|(id, row)| (row.key(id), row)).collect(),
                services: maps
                    .services()?
                    .into_iter()
                    .map(|(id, name)| (id, Arc::new(name)))
                    .collect(),
            },
            filter: maps.vip_filter()?,
            unserved: maps.unserved()?.into_iter().collect(),
            service_cidrs: maps.service_cidrs()?.into_iter().collect(),
        })
    }

    /// The contents of the ranges of slots that frontends name. A range outside the array has none.
    pub fn contents(&self, maps: &dyn Maps) -> Contents {
        let mut contents = Contents::new();
        for (at, row) in &self.rows.frontends {
            for range in [row.cluster(), row.local()]
                .into_iter()
                .filter(|range| range.len > 0)
            {
                let slots: Range<u32> = range.offset..range.offset.saturating_add(range.len);
                match maps.slots(slots) {
                    Ok(ids) => {
                        contents.insert((range.offset, range.len), ids);
                    }
                    Err(error) => {
                        warn!(frontend = %at, %error, "a frontend names slots that can't be read")
                    }
                }
            }
        }
        contents
    }

    /// An epoch that nothing in the maps knows a greater one than.
    pub fn last_epoch(&self, maps: &dyn Maps) -> Result<u32, MapError> {
        let mut last = self
            .rows
            .backends
            .values()
            .map(|row| row.epoch())
            .max()
            .unwrap_or(0);
        // A backend that is gone lives on in its flows, clients and sockets: its id with the same epoch would be taken for it.
        let walk = maps
            .flows(&mut |flow| last = last.max(flow.epoch))?
            .and(maps.affinity(&mut |client| last = last.max(client.epoch))?)
            .and(maps.socket_affinity(&mut |client| last = last.max(client.epoch))?)
            .and(maps.socket_peers(&mut |peer| last = last.max(peer.epoch()))?);
        match walk {
            Walk::Complete => Ok(last),
            Walk::Incomplete => Ok(last.wrapping_add(UNSEEN_EPOCHS)),
        }
    }

    /// Takes note of a write that succeeded.
    pub fn record(&mut self, op: &Op) -> Recorded {
        match op {
            Op::DeleteFrontend(at) => {
                self.rows.frontends.remove(at);
            }
            Op::PutFrontend(at, row) => {
                if self.rows.frontends.insert(*at, *row).is_none() {
                    return Recorded::New;
                }
            }
            Op::PutBackend(id, row) => {
                self.rows.backends.insert(row.key(*id), *row);
            }
            Op::DeleteBackend(key) => {
                self.rows.backends.remove(key);
            }
            Op::PutService(id, row) => {
                self.rows.services.insert(*id, row.clone());
            }
            Op::DeleteService(id) => {
                self.rows.services.remove(id);
            }
            Op::SetVipBit(bit) => {
                let (word, mask) = vip_filter::word_and_mask(*bit);
                self.filter[word as usize] |= mask;
            }
            Op::ClearVipBit(bit) => {
                let (word, mask) = vip_filter::word_and_mask(*bit);
                self.filter[word as usize] &= !mask;
            }
            Op::PutUnserved(address) => {
                self.unserved.insert(*address);
            }
            Op::DeleteUnserved(address) => {
                self.unserved.remove(address);
            }
            Op::PutServiceCidrs(family, cidrs) => {
                self.service_cidrs.retain(|cidr| cidr.family() != *family);
                self.service_cidrs.extend(cidrs);
            }
            Op::WriteSlots { .. } | Op::PutConfig(_) => {}
        }
        Recorded::Known
    }
}
