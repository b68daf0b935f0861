//! The difference between desired and actual, as steps in an order that is safe after every single one: pure.
//!
//! The order: a frontend that goes is deleted first, for it makes room. Then what frontends refer to is put, then the
//! frontends; one that changes is replaced by one write. What no frontend refers to any more goes last. So no packet
//! finds a frontend with a slot whose backend is missing.

use lb_common::vip_filter;

use crate::desired::{Rows, SlotWrites, Touched};
use crate::maps::{FrontendAt, Op, row};

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

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// When.
    pub phase: Phase,
    /// The write.
    pub op: Op,
    /// The service ids that it is for: of the new row, and of the row that was there. 0 where there is none. Steps of a
    /// service port whose earlier step failed must not be done.
    pub owners: [u32; 2],
}

/// The steps that make the touched keys of `actual` what they are in `desired`, and write the tables that are not
/// written. `filter` are the words of `vip_filter`.
pub fn delta(
    desired: &Rows,
    writes: &SlotWrites,
    actual: &Rows,
    filter: &[u64],
    touched: &Touched,
) -> Vec<Step> {
    let mut steps = Vec::new();
    touched
        .frontends
        .iter()
        .for_each(|at| frontend(at, desired, actual, filter, &mut steps));
    for (offset, write) in writes {
        let op = Op::WriteSlots {
            offset: *offset,
            ids: write.ids.clone(),
        };
        steps.push(Step {
            phase: Phase::WriteSlots,
            op,
            owners: [write.service_id, 0],
        });
    }
    for key in &touched.backends {
        let (new, old) = (desired.backends.get(key), actual.backends.get(key));
        let owner = |row: Option<&crate::maps::BackendRow>| row.map_or(0, |row| row.service_id());
        let (phase, op) = match (new, old) {
            (Some(new), old) if old != Some(new) => {
                (Phase::PutBackends, Op::PutBackend(key.id, *new))
            }
            (None, Some(_)) => (Phase::DeleteBackends, Op::DeleteBackend(*key)),
            _ => continue,
        };
        steps.push(Step {
            phase,
            op,
            owners: [owner(new), owner(old)],
        });
    }
    for id in &touched.services {
        let (phase, op) = match (desired.services.get(id), actual.services.get(id)) {
            (Some(new), old) if old != Some(new) => (Phase::PutServices, Op::PutService(*id, *new)),
            (None, Some(_)) => (Phase::DeleteServices, Op::DeleteService(*id)),
            _ => continue,
        };
        steps.push(Step {
            phase,
            op,
            owners: [*id, 0],
        });
    }
    steps.sort_by_key(|step| step.phase);
    steps
}

fn frontend(at: &FrontendAt, desired: &Rows, actual: &Rows, filter: &[u64], steps: &mut Vec<Step>) {
    let (new, old) = (desired.frontends.get(at), actual.frontends.get(at));
    let owners = [new, old].map(|row| row.map_or(0, |row| row.service_id()));
    let mut push = |phase, op| steps.push(Step { phase, op, owners });
    if new.is_some() && at.is_address_row() {
        let bit = row::vip_bit(&at.address());
        let (word, mask) = vip_filter::word_and_mask(bit);
        if filter
            .get(word as usize)
            .is_some_and(|word| word & mask == 0)
        {
            push(Phase::SetVipBits, Op::SetVipBit(bit));
        }
    }
    match (new, old, at.is_address_row()) {
        (Some(new), old, false) if old != Some(new) => {
            push(Phase::PutFrontends, Op::PutFrontend(*at, *new))
        }
        (Some(new), old, true) if old != Some(new) => {
            push(Phase::PutAddressRows, Op::PutFrontend(*at, *new))
        }
        (None, Some(_), false) => push(Phase::DeleteFrontends, Op::DeleteFrontend(*at)),
        (None, Some(_), true) => push(Phase::DeleteAddressRows, Op::DeleteFrontend(*at)),
        _ => {}
    }
}
