//! Where flows live in the kernel: two LRU hashes a family, one entry for each direction of a flow.
//!
//! `conntrack` has the flows that are assured and not over, `transient` has what anybody can make by sending packets, and what
//! is over. `conntrack` is asked first. A flow that is assured is *copied* there; what stays behind is displaced some day. So a
//! packet that is between its two lookups while another CPU assures its flow finds it all the same. A flow that is over is
//! written to `transient` before it leaves `conntrack`, for the same reason.

use core::marker::PhantomData;

use lb_common::conntrack::{
    ConntrackKey, Flow, FlowState, FlowTable, Peek, Peeked, Table, TableFull,
};
use lb_common::entries::Lru;

use crate::dataplane::copy_row;
use crate::maps::{self, FamilyMaps, IS_NEW, IS_THERE};
use crate::scratch::{self, Scratch};

/// The flows of a family. Keys are built in the run's working memory.
pub(crate) struct LruFlows<A> {
    scratch: *mut Scratch,
    family: PhantomData<A>,
}

impl<A: FamilyMaps> LruFlows<A> {
    /// The flows, as this run sees them.
    ///
    /// # Safety
    ///
    /// `scratch` comes from [`Scratch::get`] in this run.
    #[inline(always)]
    pub(crate) unsafe fn new(scratch: *mut Scratch) -> Self {
        Self {
            scratch,
            family: PhantomData,
        }
    }
}

impl<A: FamilyMaps> FlowTable<A> for LruFlows<A> {
    #[inline(always)]
    fn find(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool {
        find(key, into)
    }

    #[inline(always)]
    fn find_ports(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool {
        let Some(entry) = entry(key) else {
            return false;
        };
        // SAFETY: the entry's memory stays a flow's as long as this program runs. Should it be another's by now, no entry that
        // is looked for under the wrong ports is this flow's.
        into.take_ports(unsafe { &*entry });
        true
    }

    /// A lookup and its copy are most of what it costs, so it says nothing.
    #[inline(always)]
    fn peek(&self, _: &ConntrackKey<A>, _: &mut Peek<A>) -> Peeked {
        Peeked::Unsaid
    }

    #[inline(always)]
    fn insert(&self, flow: &Flow<A>) -> Result<(), TableFull> {
        if store(flow, self.scratch, IS_NEW) {
            Ok(())
        } else {
            Err(TableFull)
        }
    }

    #[inline(always)]
    fn update(&self, flow: &Flow<A>, before: FlowState) {
        renew(flow, self.scratch, before.table() as u32);
    }

    #[inline(always)]
    fn remove(&self, flow: &Flow<A>) {
        forget(flow, self.scratch);
    }
}

/// The entry of a key, of whichever table has it.
#[inline(always)]
fn entry<A: FamilyMaps>(key: &ConntrackKey<A>) -> Option<*const Flow<A>> {
    match A::conntrack().get_ptr(key) {
        None => A::transient().get_ptr(key),
        entry => entry,
    }
}

// Functions of their own, for their stack frames, and because most are called from several places and would be compiled into
// each.

/// Copies the flow of a key, if there is one.
#[inline(never)]
fn find<A: FamilyMaps>(key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool {
    let Some(entry) = entry(key) else {
        return false;
    };
    // SAFETY: the entry's memory stays a flow's as long as this program runs.
    unsafe { copy_row(entry, into) };
    // An LRU map gives an entry's memory to another key at once, maybe while it is copied here.
    into.is_found_by(key)
}

/// Writes both entries of a flow to the table that its state belongs to, or none.
#[inline(never)]
fn store<A: FamilyMaps>(flow: &Flow<A>, scratch: *mut Scratch, expected: u64) -> bool {
    // SAFETY: the scratch is this run's; nobody else uses its key.
    let key = unsafe { scratch::key::<A>(scratch) };
    key.set_from_backend(flow);
    if !put(key, flow, expected) {
        return false;
    }
    key.set_from_client(flow);
    if put(key, flow, expected) {
        return true;
    }
    key.set_from_backend(flow);
    // What the other table has is no part of this.
    match flow.state().table() {
        Table::Conntrack => maps::take_out::<A, _, _, _>(A::conntrack(), Lru::Conntrack, key),
        Table::Transient => maps::take_out::<A, _, _, _>(A::transient(), Lru::Transient, key),
    }
    false
}

/// Writes what has become of a flow, and moves it where it belongs to another table now. What can't be stored is stored by
/// the next packet that has something to record.
#[inline(never)]
fn renew<A: FamilyMaps>(flow: &Flow<A>, scratch: *mut Scratch, before: u32) {
    let now = flow.state().table() as u32;
    let is_assured = before == Table::Transient as u32 && now != before;
    let is_over = before == Table::Conntrack as u32 && now != before;
    if store(flow, scratch, if is_assured { IS_NEW } else { IS_THERE }) && is_over {
        // SAFETY: the scratch is this run's; nobody else uses its key.
        let key = unsafe { scratch::key::<A>(scratch) };
        key.set_from_client(flow);
        maps::take_out::<A, _, _, _>(A::conntrack(), Lru::Conntrack, key);
        key.set_from_backend(flow);
        maps::take_out::<A, _, _, _>(A::conntrack(), Lru::Conntrack, key);
    }
}

/// Removes both entries of a flow, wherever they are. The pipeline calls it from a function of its own, and needs no frame
/// more.
#[inline(always)]
fn forget<A: FamilyMaps>(flow: &Flow<A>, scratch: *mut Scratch) {
    // SAFETY: the scratch is this run's; nobody else uses its key.
    let key = unsafe { scratch::key::<A>(scratch) };
    key.set_from_client(flow);
    take_out(key);
    key.set_from_backend(flow);
    take_out(key);
}

/// Writes an entry to the table that the flow's state belongs to.
#[inline(never)]
fn put<A: FamilyMaps>(key: &ConntrackKey<A>, flow: &Flow<A>, expected: u64) -> bool {
    let table = flow.state().table();
    let lru = Lru::of(table);
    match table {
        Table::Conntrack => maps::put::<A, _, _, _>(A::conntrack(), lru, key, flow, expected),
        Table::Transient => maps::put::<A, _, _, _>(A::transient(), lru, key, flow, expected),
    }
}

/// Removes an entry from both tables.
#[inline(never)]
fn take_out<A: FamilyMaps>(key: &ConntrackKey<A>) {
    maps::take_out::<A, _, _, _>(A::conntrack(), Lru::Conntrack, key);
    maps::take_out::<A, _, _, _>(A::transient(), Lru::Transient, key);
}
