//! Sockets: what a process reaches that connects or sends to a VIP, and what it is shown of the other end.
//!
//! A socket is sent to the backend itself, so none of its packets is translated and no flow is entered. All that is
//! remembered is the frontend, for the process to see ([`crate::socket`]).

mod affinity;

use affinity::Course;

use crate::addr::{Endpoint, Port, Protocol};
use crate::affinity::{Affinity, SocketAffinityKey};
use crate::backend::{Backend, BackendState};
use crate::frontend::{Frontend, FrontendKey};
use crate::hash;
use crate::reason::Reason;
use crate::socket::{Mapped, SocketKey, SocketPeer};

/// Slots that are tried for one call; the first holds a good backend unless a writer is just at work.
const ATTEMPTS: u32 = 4;

/// What a process does with its socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// It connects it.
    Connect,
    /// It sends a datagram to an address that it names.
    Send,
    /// It asks where a datagram is from, or whom it is connected to.
    Ask,
}

/// Whose sockets are served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Scope {
    /// Those of the network namespace that the agent is in.
    Host = 1,
    /// Those of all network namespaces.
    All = 2,
}

impl Scope {
    /// Whether a call is any of our business.
    ///
    /// A connected UDP socket keeps the backend that it was given, for the kernel asks no more. In the agent's own
    /// namespace the agent ends it when that backend is gone; in another one nobody could, so it goes by its packets,
    /// which find another backend by themselves (S-51).
    #[inline(always)]
    pub fn covers(self, is_agents_namespace: bool, call: Call, protocol: Protocol) -> bool {
        let would_get_stuck = matches!(call, Call::Connect) && matches!(protocol, Protocol::Udp);
        is_agents_namespace || (matches!(self, Self::All) && !would_get_stuck)
    }
}

/// A socket, and the other end that a process names or the kernel knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<A> {
    /// The kernel's cookie of the socket.
    pub cookie: u64,
    /// The kernel's cookie of the socket's network namespace.
    pub netns: u64,
    /// Its protocol.
    pub protocol: Protocol,
    /// The other end.
    pub peer: Endpoint<A>,
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketAction {
    /// It goes on untouched.
    Pass,
    /// It goes to another address.
    Redirect,
    /// It fails as if the other end had refused it (`ECONNREFUSED`).
    Refuse,
    /// It fails as if the other end had not answered (`ETIMEDOUT`).
    TimeOut,
    /// It fails as if a firewall forbade it (`EPERM`).
    Forbid,
}

/// What becomes of a call, and why. No enum with data, for the same reason as [`Verdict`](super::Verdict).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketVerdict<A> {
    /// What becomes of it.
    pub action: SocketAction,
    /// Why.
    pub reason: Reason,
    /// Where it goes; meaningless unless the action is [`SocketAction::Redirect`].
    pub to: Endpoint<A>,
}

/// The world of sockets, for one address family.
pub trait Sockets {
    /// The address family.
    type Address: Mapped;

    /// As [`Dataplane::may_be_vip`](super::Dataplane::may_be_vip).
    fn may_be_vip(&self, address: &Self::Address) -> bool;
    /// The frontend of a key.
    fn frontend(&self, key: &FrontendKey<Self::Address>) -> Option<Frontend>;
    /// As [`Dataplane::is_in_service_cidr`](super::Dataplane::is_in_service_cidr).
    fn is_in_service_cidr(&self, address: &Self::Address) -> bool;
    /// As [`Dataplane::is_unserved`](super::Dataplane::is_unserved).
    fn is_unserved(&self, address: &Self::Address) -> bool;
    /// The backend id in a slot; 0 in a slot that was never written.
    fn slot(&self, index: u32) -> Option<u32>;
    /// The backend of an id.
    fn backend(&self, id: u32) -> Option<Backend<Self::Address>>;
    /// The secret of the hashes.
    fn secret(&self) -> u64;
    /// A random number.
    fn random(&self) -> u32;
    /// What is remembered of a socket.
    fn peer(&self, key: &SocketKey) -> Option<SocketPeer>;
    /// Remembers it. What can't be remembered is done all the same: the process then sees the backend.
    fn remember(&self, key: &SocketKey, peer: &SocketPeer);
    /// Forgets it.
    fn forget(&self, key: &SocketKey);
    /// The backend that the sockets of a namespace were given last.
    fn affinity(&self, key: &SocketAffinityKey) -> Option<Affinity>;
    /// Remembers which backend they were given.
    fn set_affinity(&self, key: &SocketAffinityKey, affinity: &Affinity);
    /// As [`Dataplane::now`](super::Dataplane::now).
    fn now(&self) -> u32;
    /// As [`Dataplane::ticks_per_second`](super::Dataplane::ticks_per_second).
    fn ticks_per_second(&self) -> u32;
}

/// The backend that a call goes to.
#[derive(Clone, Copy)]
struct Given<A> {
    /// Its id, 0 where there is none.
    id: u32,
    /// The backend; meaningless where there is none.
    backend: Backend<A>,
}

impl<A: Mapped> Given<A> {
    #[inline(always)]
    fn nobody() -> Self {
        let nowhere = Endpoint {
            address: bytemuck::Zeroable::zeroed(),
            port: Port::new(0),
        };
        Self {
            id: 0,
            backend: Backend::new(nowhere, BackendState::Active, 0, 0),
        }
    }
}

/// Decides where a socket's connection or datagram goes.
#[inline(always)]
pub fn to_peer<D: Sockets>(
    dp: &D,
    request: &Request<D::Address>,
    call: Call,
) -> SocketVerdict<D::Address> {
    let Request {
        protocol, peer: to, ..
    } = *request;
    let mut frontend = None;
    if dp.may_be_vip(&to.address) {
        frontend = dp.frontend(&FrontendKey::new(to.address, to.port, protocol));
        if frontend.is_none() && dp.frontend(&FrontendKey::address_row(to.address)).is_some() {
            return verdict(SocketAction::Refuse, Reason::SocketUnknownPort);
        }
    }
    let Some(frontend) = frontend else {
        return elsewhere(dp, request);
    };
    if frontend.range().len == 0 {
        return no_backend(&frontend, protocol);
    }
    let mut given = Given::nobody();
    let mut course = Course::GoesOn;
    if frontend.affinity_seconds() != 0 {
        course = affinity::stay(dp, request, call, &frontend, &mut given);
    }
    if given.id == 0 {
        select(
            dp,
            start(dp, request, call, &frontend),
            &frontend,
            &mut given,
        );
    }
    if given.id == 0 {
        return verdict(SocketAction::Refuse, Reason::SocketBackendMissing);
    }
    if course != Course::GoesOn {
        affinity::remember(dp, request, call, &frontend, course, &given);
    }
    let endpoint = given.backend.endpoint();
    remember(
        dp,
        &SocketKey::new(request.cookie, protocol, &endpoint),
        &SocketPeer::new(&to, given.id, given.backend.epoch()),
    );
    SocketVerdict {
        to: endpoint,
        ..verdict(SocketAction::Redirect, Reason::SocketForward)
    }
}

/// The first backend that is there, from a number on that, modulo the table's length, is a slot.
#[inline(always)]
fn select<D: Sockets>(dp: &D, start: u32, frontend: &Frontend, given: &mut Given<D::Address>) {
    let range = frontend.range();
    for attempt in 0..ATTEMPTS {
        let slot = range
            .offset
            .wrapping_add(start.wrapping_add(attempt) % range.len);
        let Some(id) = dp.slot(slot) else { continue };
        let Some(backend) = dp.backend(id) else {
            continue;
        };
        // A range that was given to another service port between two lookups.
        if backend.service_id() != frontend.service_id() {
            continue;
        }
        *given = Given { id, backend };
        return;
    }
}

/// What a process is shown in place of a backend: the frontend that it asked for, none where it spoke to nobody through
/// one.
#[inline(always)]
pub fn shown<D: Sockets>(dp: &D, request: &Request<D::Address>) -> Option<Endpoint<D::Address>> {
    let key = SocketKey::new(request.cookie, request.protocol, &request.peer);
    Some(dp.peer(&key)?.frontend())
}

/// Where in the table a call begins.
///
/// A datagram's backend depends on nothing but socket, secret and table, so that datagrams to one frontend stay together
/// (S-51). A connection begins anywhere: who tries again on the same socket gets another chance. So does a datagram where its
/// backend is remembered: a client whose time is over must be able to get another one (S-28).
#[inline(always)]
fn start<D: Sockets>(
    dp: &D,
    request: &Request<D::Address>,
    call: Call,
    frontend: &Frontend,
) -> u32 {
    if matches!(call, Call::Send) && frontend.affinity_seconds() == 0 {
        hash::socket_hash(dp.secret(), request.cookie, frontend.service_id())
    } else {
        dp.random()
    }
}

/// Enters what a process is to be shown; most datagrams find it there.
#[inline(always)]
fn remember<D: Sockets>(dp: &D, key: &SocketKey, peer: &SocketPeer) {
    if dp.peer(key) != Some(*peer) {
        dp.remember(key, peer);
    }
}

/// A call to an address that is no VIP: dropped where it is in a Service CIDR and no Service has it (S-30 d).
#[inline(always)]
fn elsewhere<D: Sockets>(dp: &D, request: &Request<D::Address>) -> SocketVerdict<D::Address> {
    let address = &request.peer.address;
    if dp.is_in_service_cidr(address) && !dp.is_unserved(address) {
        return dropped(Reason::SocketUnallocated, request.protocol);
    }
    direct(dp, request)
}

/// A call to an address that is no VIP and none that a Service could have. It may well be a backend's that the same socket has spoken to through a VIP: from
/// now on the process sees whom it asked for.
#[inline(always)]
fn direct<D: Sockets>(dp: &D, request: &Request<D::Address>) -> SocketVerdict<D::Address> {
    let key = SocketKey::new(request.cookie, request.protocol, &request.peer);
    if dp.peer(&key).is_some() {
        dp.forget(&key);
    }
    verdict(SocketAction::Pass, Reason::NotForService)
}

/// A call to a frontend without backends (S-30 a, b).
#[inline(always)]
fn no_backend<A: Mapped>(frontend: &Frontend, protocol: Protocol) -> SocketVerdict<A> {
    const ELSEWHERE: u32 = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
    if frontend.flags() & ELSEWHERE != ELSEWHERE {
        return verdict(SocketAction::Refuse, Reason::SocketNoEndpoint);
    }
    dropped(Reason::SocketNoLocalEndpoint, protocol)
}

/// A call of which kube-proxy has netfilter drop the packets: a connection times out, and a datagram is forbidden. There is no
/// packet to be lost here, so the time-out comes at once.
#[inline(always)]
fn dropped<A: Mapped>(reason: Reason, protocol: Protocol) -> SocketVerdict<A> {
    let action = match protocol {
        Protocol::Tcp => SocketAction::TimeOut,
        _ => SocketAction::Forbid,
    };
    verdict(action, reason)
}

#[inline(always)]
fn verdict<A: Mapped>(action: SocketAction, reason: Reason) -> SocketVerdict<A> {
    SocketVerdict {
        action,
        reason,
        to: Endpoint {
            address: bytemuck::Zeroable::zeroed(),
            port: Port::new(0),
        },
    }
}

#[cfg(test)]
mod tests;
