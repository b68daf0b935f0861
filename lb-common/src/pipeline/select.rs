//! The first packet of a flow: frontend → slot → backend, and a new entry.

use super::first::First;
use super::forward::towards_backend;
use super::{
    Dataplane, Room, UNALLOCATED, Verdict, affinity, ending, failover, forget_known, hairpin,
    is_idle, source_port, vip_flags,
};
use crate::addr::Address;
use crate::backend::Backend;
use crate::conntrack::{Chosen, Flow, FlowState, FlowTable};
use crate::frontend::{Frontend, FrontendKey};
use crate::hash;
use crate::reason::Reason;

/// Slots that are tried for one packet. The first holds a good backend unless a writer is just at work or its tuple is
/// taken.
const ATTEMPTS: u32 = 4;

/// [`find_backend`]: there is one.
const FOUND: Reason = Reason::NewFlow;

/// Selects a backend for the packet that `room.key` describes, and enters the flow. Says what came of it, which
/// [`verdict`] makes a verdict of.
///
/// A TCP segment that opens nothing and has no entry is treated alike: its entry was lost, and as the slot depends on
/// nothing but the tuple and the table, it finds the backend that it had.
///
/// Three steps, each a function of its own: for its stack frame, as most packets need none of them, and so that of the many ways
/// through one the verifier follows into the next only those that differ in what it returns.
#[inline(always)]
pub(super) fn backend<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) -> Reason {
    match find_backend(dp, room) {
        FOUND => {}
        Reason::TupleClash if source_port::take_another(dp, room) => {}
        why => return why,
    }
    begin(dp, room)
}

/// Gives the flow that begins to a backend: [`FOUND`], or why not. After a tuple clash it is given to the backend where it met
/// one.
#[inline(never)]
fn find_backend<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) -> Reason {
    let Some(frontend) = dp.frontend(&room.key.frontend()) else {
        return no_frontend(dp, &room.key.frontend());
    };
    if frontend.range().len == 0 {
        return no_backend(&frontend);
    }
    let first = room.first;
    room.new.begin(&room.key, state(&first), first.now);
    affinity::stay(dp, &frontend, room);
    if room.client.is_free() {
        choose(dp, &frontend, room)
    } else if room.client.clashes() {
        Reason::TupleClash
    } else {
        FOUND
    }
}

/// Enters the flow that was given to a backend, and says what its first packet is counted as, or why it can't be entered.
#[inline(never)]
fn begin<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) -> Reason {
    failover::remember(room);
    if let Err(why) = enter(dp, room) {
        return why;
    }
    let reason = failover::reason(room.first.reason(), room);
    // A flow that stays where it was is no new connection.
    if reason != Reason::Forward {
        affinity::remember(dp, room);
    }
    if reason == Reason::NewFlow && room.new.has_other_source_port() {
        return Reason::SourcePort;
    }
    reason
}

/// What happens to a packet for which [`backend`] gave a reason; `new` is the flow that it entered.
#[inline(always)]
pub(super) fn verdict<A: Address>(reason: Reason, new: &Flow<A>) -> Verdict<A> {
    match reason {
        Reason::NewFlow
        | Reason::SourcePort
        | Reason::Reselected
        | Reason::Failover
        | Reason::Forward => Verdict::rewrite(towards_backend(new), reason),
        Reason::NotForService => Verdict::pass(reason),
        Reason::NoEndpoint | Reason::UnknownPort => Verdict::reject(reason),
        _ => Verdict::drop(reason),
    }
}

/// A packet to no frontend: refused where the address is a VIP (S-30 c), dropped where it could be one (S-30 d), nobody's
/// business elsewhere.
#[inline(always)]
fn no_frontend<D: Dataplane>(dp: &D, key: &FrontendKey<D::Address>) -> Reason {
    match vip_flags(dp, &key.address()) {
        0 => Reason::NotForService,
        UNALLOCATED => Reason::Unallocated,
        _ => Reason::UnknownPort,
    }
}

/// A packet to a frontend without backends (S-30 a, b).
#[inline(always)]
fn no_backend(frontend: &Frontend) -> Reason {
    const ELSEWHERE: u32 = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
    if frontend.flags() & ELSEWHERE == ELSEWHERE {
        Reason::NoLocalEndpoint
    } else {
        Reason::NoEndpoint
    }
}

/// The state that a flow begins with. A TCP segment that opens nothing belongs to a connection that was answered before, if it
/// is not forged: only the backend's answer tells.
#[inline(always)]
fn state(first: &First) -> FlowState {
    match first.flags {
        Some(flags) if !flags.opens() => {
            FlowState::RESUMED.with(ending(first.flags, FlowState::CLIENT_FIN))
        }
        _ => FlowState::NEW,
    }
}

/// Gives the new flow to the first backend that is there and where its tuple is free; otherwise says why there is none.
#[inline(always)]
fn choose<D: Dataplane>(dp: &D, frontend: &Frontend, room: &mut Room<D::Address>) -> Reason {
    let range = frontend.range();
    let hash = hash::slot_hash(dp.secret(), &room.new.client(), frontend.service_id())
        .wrapping_add(room.unanswered.steps());
    let mut outcome = Reason::BackendMissing;
    for attempt in 0..ATTEMPTS {
        let slot = range
            .offset
            .wrapping_add(hash.wrapping_add(attempt) % range.len);
        let Some(id) = dp.slot(slot) else { continue };
        let Some(backend) = dp.backend(id) else {
            continue;
        };
        // A range that was given to another service port between two lookups.
        if backend.service_id() != frontend.service_id() {
            continue;
        }
        room.new.give_to(&chosen(id, &backend));
        if take_tuple(dp, room) {
            return FOUND;
        }
        outcome = Reason::TupleClash;
    }
    outcome
}

/// A backend as a flow remembers it.
#[inline(always)]
pub(super) fn chosen<A: Address>(id: u32, backend: &Backend<A>) -> Chosen<A> {
    Chosen {
        id,
        epoch: backend.epoch(),
        service_id: backend.service_id(),
        endpoint: backend.endpoint(),
    }
}

/// Whether the new flow may have its tuple at the backend. While the backend answers the same port of the client for another
/// connection it may not: two would be one tuple to it, and its replies could not be told apart. Nor where a pod that
/// reaches itself would see its own port on both ends, or the other flow that it needs can't be entered.
///
/// A flow that is over loses its tuple: [`enter`] forgets it on both sides, so that none of its late packets takes it back.
#[inline(always)]
pub(super) fn take_tuple<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) -> bool {
    room.displaces = 0;
    if room.new.meets_itself() {
        return false;
    }
    room.key.set_from_backend(&room.new);
    let other = &mut room.known;
    if dp.flows().find(&room.key, other) {
        // What is left of the same flow, found from this side alone, goes as well: the table that it is in may be asked first.
        let is_another = !other.is_same_connection(&room.new);
        if is_another && !other.state().is_closed() && !is_idle(dp, other, room.first.now) {
            return false;
        }
        room.displaces = 1;
    }
    !room.new.is_hairpin() || hairpin::other_is_free(dp, room)
}

/// Stores the new flow.
#[inline(always)]
fn enter<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) -> Result<(), Reason> {
    if room.displaces != 0 {
        forget_known(dp, room);
    }
    // The last segment of a connection that nobody remembers: nothing will follow that needs an entry.
    if matches!(room.first.flags, Some(flags) if flags.rst()) {
        return Ok(());
    }
    // Before the flow is there: whoever finds the flow finds the mark.
    dp.mark_backend(&room.new.backend().address);
    if dp.flows().insert(&room.new).is_err() {
        return Err(Reason::FlowTableFull);
    }
    if room.new.is_hairpin() {
        room.mirrored.mirror(&room.new);
        dp.mark_backend(&room.mirrored.backend().address);
        if dp.flows().insert(&room.mirrored).is_err() {
            dp.flows().remove(&room.new);
            return Err(Reason::FlowTableFull);
        }
    }
    Ok(())
}
