//! The first packet of a flow: frontend → slot → backend, and a new entry.

use super::forward::towards_backend;
use super::{Dataplane, Verdict, ending, forget, is_idle};
use crate::addr::Address;
use crate::conntrack::{Chosen, Flow, FlowState, FlowTable, Tuple};
use crate::frontend::{Frontend, FrontendKey};
use crate::hash;
use crate::packet::TcpFlags;
use crate::reason::Reason;

/// Slots that are tried for one packet. The first holds a good backend unless a writer is just at work or its tuple is
/// taken.
const ATTEMPTS: u32 = 4;

/// What is known of the packet that begins a flow.
pub(super) struct First {
    /// Its flags, if it is a TCP segment.
    pub(super) flags: Option<TcpFlags>,
    /// Why a backend is selected.
    pub(super) reason: Reason,
    /// The time.
    pub(super) now: u32,
}

/// Selects a backend for a packet and enters the flow.
///
/// A TCP segment that opens nothing and has no entry is treated alike: its entry was lost, and as the slot depends on
/// nothing but the tuple and the table, it finds the backend that it had.
#[inline(always)]
pub(super) fn backend<D: Dataplane>(
    dp: &D,
    tuple: &Tuple<D::Address>,
    first: First,
) -> Verdict<D::Address> {
    let Some(frontend) = dp.frontend(&FrontendKey::new(
        tuple.peer.address,
        tuple.peer.port,
        tuple.protocol,
    )) else {
        return no_frontend(dp, tuple);
    };
    let range = frontend.range();
    if range.len == 0 {
        return no_backend(&frontend);
    }
    let hash = hash::slot_hash(dp.secret(), &tuple.client, frontend.service_id());
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
        let chosen = Chosen {
            id,
            epoch: backend.epoch(),
            service_id: frontend.service_id(),
            endpoint: backend.endpoint(),
        };
        let flow = Flow::new(tuple, &chosen, state(&first), first.now);
        if !take_tuple(dp, &flow, first.now) {
            outcome = Reason::TupleClash;
            continue;
        }
        return enter(dp, &flow, &first);
    }
    Verdict::drop(outcome)
}

/// A packet to no frontend: refused where the address is a VIP (S-30 c), nobody's business elsewhere.
#[inline(always)]
fn no_frontend<D: Dataplane>(dp: &D, tuple: &Tuple<D::Address>) -> Verdict<D::Address> {
    match dp.frontend(&FrontendKey::address_row(tuple.peer.address)) {
        Some(_) => Verdict::reject(Reason::UnknownPort),
        None => Verdict::pass(Reason::NotForService),
    }
}

/// A packet to a frontend without backends (S-30 a, b).
#[inline(always)]
fn no_backend<A: Address>(frontend: &Frontend) -> Verdict<A> {
    const ELSEWHERE: u32 = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
    if frontend.flags() & ELSEWHERE == ELSEWHERE {
        Verdict::drop(Reason::NoLocalEndpoint)
    } else {
        Verdict::reject(Reason::NoEndpoint)
    }
}

/// The state that a flow begins with. A TCP segment that opens nothing belongs to a connection that was answered before.
#[inline(always)]
fn state(first: &First) -> FlowState {
    match first.flags {
        Some(flags) if !flags.opens() => {
            FlowState::REPLIED.with(ending(first.flags, FlowState::CLIENT_FIN))
        }
        _ => FlowState::NEW,
    }
}

/// Whether a flow may have its tuple at the backend. While the backend answers the same client port for another frontend
/// it may not: two connections would be one tuple to it, and its replies could not be told apart.
///
/// A flow that is over loses its tuple and is forgotten on both sides, so that none of its late packets takes it back.
#[inline(always)]
fn take_tuple<D: Dataplane>(dp: &D, flow: &Flow<D::Address>, now: u32) -> bool {
    let Some(other) = dp.flows().find_from_backend(&flow.from_backend()) else {
        return true;
    };
    if other.frontend() == flow.frontend() {
        return true;
    }
    if !other.state().is_closed() && !is_idle(dp, &other, now) {
        return false;
    }
    forget(dp, &other);
    true
}

#[inline(always)]
fn enter<D: Dataplane>(dp: &D, flow: &Flow<D::Address>, first: &First) -> Verdict<D::Address> {
    let rewrite = towards_backend(flow);
    // The last segment of a connection that nobody remembers: nothing will follow that needs an entry.
    if matches!(first.flags, Some(flags) if flags.rst()) {
        return Verdict::rewrite(rewrite, first.reason);
    }
    if dp.flows().insert(flow).is_err() {
        return Verdict::drop(Reason::FlowTableFull);
    }
    if flow.is_hairpin() && dp.flows().insert(&flow.mirrored()).is_err() {
        dp.flows().remove(flow);
        return Verdict::drop(Reason::FlowTableFull);
    }
    Verdict::rewrite(rewrite, first.reason)
}
