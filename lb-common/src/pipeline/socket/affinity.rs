//! Service ports with session affinity: the sockets of a network namespace are one client, which stays with the backend that it
//! has (S-25 to S-28).
//!
//! A connection is new whenever a socket connects. Of the datagrams of a socket that is connected to nobody only the first
//! one to a frontend is, and the first one after a silence for which a flow of packets would be forgotten (S-26): it is remembered
//! which backend they go to.

use super::{Call, Given, Request, Sockets};
use crate::affinity::{Affinity, SocketAffinityKey};
use crate::frontend::Frontend;
use crate::pipeline::{UDP_IDLE_SECONDS, ticks_since};
use crate::socket::{SocketKey, SocketPeer};

/// What a call is to a client that stays with its backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// One more datagram: nothing new.
    GoesOn,
    /// One more datagram, the first one for a second.
    Renews,
    /// A new connection, or the first of a socket's datagrams.
    Begins,
}

/// Gives a call to the backend that its socket or its client has; where it begins something new, it may still need one.
#[inline(always)]
pub(super) fn stay<D: Sockets>(
    dp: &D,
    request: &Request<D::Address>,
    call: Call,
    frontend: &Frontend,
    given: &mut Given<D::Address>,
) -> Course {
    if matches!(call, Call::Send) {
        let course = go_on(dp, request, frontend, given);
        if course != Course::Begins {
            return course;
        }
    }
    let Some(last) = dp.affinity(&client(request, frontend)) else {
        return Course::Begins;
    };
    let second = dp.ticks_per_second();
    let limit = frontend.affinity_seconds().wrapping_mul(second);
    if ticks_since(last.last, dp.now(), second) >= limit {
        return Course::Begins;
    }
    let Some(backend) = dp.backend(last.backend_id) else {
        return Course::Begins;
    };
    let is_same = backend.epoch() == last.epoch && backend.service_id() == frontend.service_id();
    if is_same && backend.is_listed(frontend.list()) {
        *given = Given {
            id: last.backend_id,
            backend,
        };
    }
    Course::Begins
}

/// Gives a datagram to the backend that got the socket's last one, if that still is what it was (S-51).
#[inline(always)]
fn go_on<D: Sockets>(
    dp: &D,
    request: &Request<D::Address>,
    frontend: &Frontend,
    given: &mut Given<D::Address>,
) -> Course {
    let key = SocketKey::new(request.cookie, request.protocol, &request.peer);
    let Some(flow) = dp.peer(&key) else {
        return Course::Begins;
    };
    let second = dp.ticks_per_second();
    let age = ticks_since(flow.last(), dp.now(), second);
    if age > UDP_IDLE_SECONDS.wrapping_mul(second) {
        return Course::Begins;
    }
    let Some(backend) = dp.backend(flow.backend_id()) else {
        return Course::Begins;
    };
    if backend.epoch() != flow.epoch() || backend.service_id() != frontend.service_id() {
        return Course::Begins;
    }
    *given = Given {
        id: flow.backend_id(),
        backend,
    };
    if age < second {
        Course::GoesOn
    } else {
        Course::Renews
    }
}

/// Remembers which backend a new connection, or a socket's datagrams, go to.
#[inline(always)]
pub(super) fn remember<D: Sockets>(
    dp: &D,
    request: &Request<D::Address>,
    call: Call,
    frontend: &Frontend,
    course: Course,
    given: &Given<D::Address>,
) {
    let affinity = Affinity {
        backend_id: given.id,
        epoch: given.backend.epoch(),
        last: dp.now(),
    };
    if course == Course::Begins {
        dp.set_affinity(&client(request, frontend), &affinity);
    }
    if matches!(call, Call::Send) {
        dp.remember(
            &SocketKey::new(request.cookie, request.protocol, &request.peer),
            &SocketPeer::new(&request.peer, given.id, affinity.epoch).at(affinity.last),
        );
    }
}

#[inline(always)]
fn client<A: crate::addr::Address>(request: &Request<A>, frontend: &Frontend) -> SocketAffinityKey {
    SocketAffinityKey::new::<A>(request.netns, frontend.service_id())
}
