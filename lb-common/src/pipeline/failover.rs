//! SYN failover: a connection whose backend never answered goes elsewhere with its client's next SYN.
//!
//! Between the death of a node and the word of it there are backends that are selected and do not answer. The client's
//! kernel sends its SYN again, a second later for the first time (RFC 6298, section 2). Such a SYN is no reason to wait: another
//! backend gets it. Only what opens a connection moves, and only while nobody has answered; so no connection is ever torn.

use super::{Dataplane, Room, age};
use crate::addr::Address;
use crate::conntrack::Flow;
use crate::hash;
use crate::reason::Reason;

/// How many times in a second a SYN may come again at most and still be the network's copy of the last one, not the client's
/// second try.
const COPIES_PER_SECOND: u32 = 5;

/// Slots that are looked at for another backend. Each costs the verifier some five hundred instructions. Where a Service has two
/// backends, one flow in a thousand finds none and stays; with three, one in sixty thousand.
const WALK: u32 = 10;

/// The backends that a flow has left behind, by id; 0 is no backend's. Where the last one is 0 there are none.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Unanswered {
    /// The one that it was given last.
    last: u32,
    /// The one before.
    earlier: u32,
    /// Where another one is met, in slots from the flow's own, which is 1; 0 if nowhere.
    another: u32,
    /// Where the earlier one is met, which is better than the last.
    met: u32,
}

impl Unanswered {
    /// None.
    pub(super) const NONE: Self = Self {
        last: 0,
        earlier: 0,
        another: 0,
        met: 0,
    };

    /// How many slots further than its own the flow begins to look for a backend. Without any other it stays at its own, with
    /// the only one that there is.
    #[inline(always)]
    pub(super) fn steps(&self) -> u32 {
        let Self { another, met, .. } = *self;
        match (self.last, another) {
            (0, _) => 0,
            (_, 0) => met.saturating_sub(1),
            _ => another - 1,
        }
    }

    /// Whether a backend is one of them.
    #[inline(always)]
    pub(super) fn has(&self, id: u32) -> bool {
        self.last != 0 && (id == self.last || id == self.earlier)
    }
}

/// Whether a SYN of a known flow, whose backend is still there, is the client's next try.
#[inline(always)]
pub(super) fn is_due<D: Dataplane>(dp: &D, flow: &Flow<D::Address>, now: u32) -> bool {
    !flow.state().is_open()
        && age(dp, flow.last_seen(), now) >= dp.ticks_per_second() / COPIES_PER_SECOND
}

/// The flow that begins may go to any backend.
#[inline(always)]
pub(super) fn none<A>(room: &mut Room<A>) {
    room.unanswered.last = 0;
}

/// The flow that begins shall not go to the backends that `room.known`, in whose place it comes, was given in vain. Looks for
/// the first slot with any other, and for the first one with the earlier of the two.
///
/// A function of its own, and not part of the selection: few packets need it, and the verifier comes here on one way alone. It
/// goes backwards, to the end, and leaves at no other place, for each would be one more that the verifier goes on from.
#[inline(never)]
pub(super) fn note<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) {
    let unanswered = &mut room.unanswered;
    unanswered.last = room.known.backend_id();
    unanswered.earlier = room.known.previous_id();
    unanswered.another = 0;
    unanswered.met = 0;
    let Some(frontend) = dp.frontend(&room.key.frontend()) else {
        return;
    };
    let range = frontend.range();
    if range.len == 0 {
        return;
    }
    let hash = hash::slot_hash(dp.secret(), &room.known.client(), frontend.service_id());
    for step in (0..WALK).rev() {
        let slot = range
            .offset
            .wrapping_add(hash.wrapping_add(step) % range.len);
        if let Some(id) = dp.slot(slot)
            && id != unanswered.last
        {
            let met = if id == unanswered.earlier {
                &mut unanswered.met
            } else {
                &mut unanswered.another
            };
            *met = step + 1;
        }
    }
}

/// Lets the flow that begins remember which backend it left.
#[inline(always)]
pub(super) fn remember<A: Address>(room: &mut Room<A>) {
    let Unanswered { last, earlier, .. } = room.unanswered;
    let stays = room.new.backend_id() == last;
    room.new.leave(if stays { earlier } else { last });
}

/// What the packet is counted as; `reason` is the reason of a flow that may go to any backend.
#[inline(always)]
pub(super) fn reason<A: Address>(reason: Reason, room: &Room<A>) -> Reason {
    match room.unanswered.last {
        0 => reason,
        last if last == room.new.backend_id() => Reason::Forward,
        _ => Reason::Failover,
    }
}
