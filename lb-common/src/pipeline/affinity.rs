//! Service ports with session affinity: a client stays with the backend that it has (S-25 to S-28).
//!
//! Only what opens a connection counts: its age decides and it is remembered, so that the time runs from the client's last
//! new connection, not from its last packet (S-26).

use super::select::{chosen, take_tuple};
use super::{Dataplane, Room, age};
use crate::addr::Address;
use crate::affinity::{Affinity, AffinityKey};
use crate::frontend::Frontend;

/// A client, and the backend that it stays with. Part of [`Room`]: what is read back from memory is nothing that the
/// verifier has to follow on every way through the selection.
#[repr(C)]
pub(super) struct Client<A> {
    /// The client and the service port.
    key: AffinityKey<A>,
    /// The backend that the client had, or has now.
    last: Affinity,
    /// Seconds for which it stays, 0 without session affinity.
    seconds: u32,
    /// The list that the backend must be in.
    list: u32,
    /// What came of sending it to the backend that it had: one of the numbers below.
    stayed: u32,
}

/// The new flow goes there.
const DONE: u32 = 0;
/// It had none, or not lately, or the backend is not to be had any more (S-27): the client is free to go elsewhere.
const FREE: u32 = 1;
/// The client's port already speaks to it through another frontend.
const CLASH: u32 = 2;

impl<A: Address> Client<A> {
    /// Nobody.
    pub(super) fn empty() -> Self {
        Self {
            key: AffinityKey::new(A::zeroed(), 0),
            last: bytemuck::Zeroable::zeroed(),
            seconds: 0,
            list: 0,
            stayed: FREE,
        }
    }

    /// Whether the new flow still needs a backend.
    #[inline(always)]
    pub(super) fn is_free(&self) -> bool {
        self.stayed == FREE
    }

    /// Whether the new flow has its backend, and needs another source port there.
    #[inline(always)]
    pub(super) fn clashes(&self) -> bool {
        self.stayed == CLASH
    }
}

/// Gives `room.new` to the backend that its client had last, where the frontend wants so and the backend is still to be had.
#[inline(always)]
pub(super) fn stay<D: Dataplane>(dp: &D, frontend: &Frontend, room: &mut Room<D::Address>) {
    let client = &mut room.client;
    client.seconds = frontend.affinity_seconds();
    client.list = frontend.list() as u32;
    client.stayed = FREE;
    if client.seconds != 0 {
        client
            .key
            .set(room.new.client().address, frontend.service_id());
        let stayed = give(dp, room);
        room.client.stayed = stayed;
    }
}

/// Gives `room.new` to the backend that the client had last, unless that is one that has just not answered it.
///
/// A TCP segment that opens nothing has lost its entry; the client's backend, however old, is then a better guess than a
/// slot, which the connection may never have been given.
///
/// A function of its own, for its stack frame.
#[inline(never)]
fn give<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) -> u32 {
    let client = &mut room.client;
    let Some(last) = dp.affinity(&client.key) else {
        return FREE;
    };
    let limit = client.seconds.wrapping_mul(dp.ticks_per_second());
    if room.first.opens() && age(dp, last.last, room.first.now) >= limit {
        return FREE;
    }
    let Some(backend) = dp.backend(last.backend_id) else {
        return FREE;
    };
    let is_another = room.unanswered.has(last.backend_id)
        || backend.epoch() != last.epoch
        || backend.service_id() != client.key.service_id()
        || !backend.is_listed(client.list as u8);
    if is_another {
        return FREE;
    }
    client.last = last;
    room.new.give_to(&chosen(last.backend_id, &backend));
    if take_tuple(dp, room) { DONE } else { CLASH }
}

/// Remembers to which backend `room.new` was given, where the frontend wants so.
#[inline(always)]
pub(super) fn remember<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) {
    let client = &mut room.client;
    if client.seconds == 0 || !room.first.opens() {
        return;
    }
    client.last.backend_id = room.new.backend_id();
    client.last.epoch = room.new.epoch();
    client.last.last = room.first.now;
    dp.set_affinity(&client.key, &client.last);
}
