//! Where sockets are sent, over maps in memory.

mod affinity;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::frontend::SlotRange;
use crate::pipeline::Dataplane;
use crate::pipeline::glance::Addresses;
use crate::service_cidr::ServiceCidrs;
use crate::testing::strategies::{Family, on_both_families};
use crate::testing::{MemoryDataplane, Random};

const SERVICE: u32 = 7;
/// The cookie of the node's network namespace.
const NODE: u64 = 1;

/// The tables of a data plane in memory, and what is remembered of sockets.
struct World<A> {
    tables: MemoryDataplane<A>,
    peers: RefCell<HashMap<SocketKey, SocketPeer>>,
    written: Cell<u32>,
    affinity: RefCell<HashMap<SocketAffinityKey, Affinity>>,
    random: RefCell<Random>,
}

impl<A: Family> World<A> {
    /// VIP 10, port 80, served by pods 1, 2, … on port 8080.
    fn serving(protocol: Protocol, pods: u8) -> Self {
        let mut world = Self {
            tables: MemoryDataplane::new(),
            peers: RefCell::default(),
            written: Cell::new(0),
            affinity: RefCell::default(),
            random: RefCell::new(Random::new(1)),
        };
        world.serve(protocol, 1..=pods);
        world
    }

    fn serve(&mut self, protocol: Protocol, pods: impl Iterator<Item = u8>) {
        let endpoints: Vec<_> = pods.map(|n| (A::pod(n), 8080)).collect();
        self.tables
            .serve(SERVICE, A::vip(10), 80, protocol, &endpoints);
    }

    fn call(&self, request: &Request<A>, call: Call) -> SocketVerdict<A> {
        to_peer(self, request, call)
    }

    /// Where a call to VIP 10, port 80, goes.
    #[track_caller]
    fn redirected(&self, cookie: u64, protocol: Protocol, call: Call) -> Endpoint<A> {
        let verdict = self.call(&request(cookie, protocol, vip()), call);
        assert_eq!(verdict.action, SocketAction::Redirect, "{verdict:?}");
        assert_eq!(verdict.reason, Reason::SocketForward);
        verdict.to
    }

    fn shown(&self, cookie: u64, protocol: Protocol, peer: Endpoint<A>) -> Option<Endpoint<A>> {
        shown(self, &request(cookie, protocol, peer))
    }
}

impl<A: Family> Sockets for World<A> {
    type Address = A;

    fn may_be_vip(&self, address: &A) -> bool {
        self.tables.may_be_vip(address)
    }
    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend> {
        Dataplane::frontend(&self.tables, key)
    }
    fn is_in_service_cidr(&self, address: &A) -> bool {
        Addresses::is_in_service_cidr(&self.tables, address)
    }
    fn is_unserved(&self, address: &A) -> bool {
        Addresses::is_unserved(&self.tables, address)
    }
    fn slot(&self, index: u32) -> Option<u32> {
        self.tables.slot(index)
    }
    fn backend(&self, id: u32) -> Option<Backend<A>> {
        self.tables.backend(id)
    }
    fn secret(&self) -> u64 {
        self.tables.secret()
    }
    fn random(&self) -> u32 {
        self.random.borrow_mut().number() as u32
    }
    fn peer(&self, key: &SocketKey) -> Option<SocketPeer> {
        self.peers.borrow().get(key).copied()
    }
    fn remember(&self, key: &SocketKey, peer: &SocketPeer) {
        self.written.set(self.written.get() + 1);
        self.peers.borrow_mut().insert(*key, *peer);
    }
    fn forget(&self, key: &SocketKey) {
        self.peers.borrow_mut().remove(key);
    }
    fn affinity(&self, key: &SocketAffinityKey) -> Option<Affinity> {
        self.affinity.borrow().get(key).copied()
    }
    fn set_affinity(&self, key: &SocketAffinityKey, affinity: &Affinity) {
        self.affinity.borrow_mut().insert(*key, *affinity);
    }
    fn now(&self) -> u32 {
        Dataplane::now(&self.tables)
    }
    fn ticks_per_second(&self) -> u32 {
        Dataplane::ticks_per_second(&self.tables)
    }
}

fn request<A>(cookie: u64, protocol: Protocol, peer: Endpoint<A>) -> Request<A> {
    Request {
        cookie,
        netns: NODE,
        protocol,
        peer,
    }
}

fn end<A>(address: A, port: u16) -> Endpoint<A> {
    Endpoint {
        address,
        port: Port::new(port),
    }
}

fn vip<A: Family>() -> Endpoint<A> {
    end(A::vip(10), 80)
}

on_both_families! {
    fn a_connection_to_a_vip_goes_to_a_backend_and_shows_the_vip<A>() {
        let world = World::<A>::serving(Protocol::Tcp, 3);
        let to = world.redirected(1, Protocol::Tcp, Call::Connect);
        assert_eq!(to.port.get(), 8080);
        assert!((1..=3).any(|n| to.address == A::pod(n)), "{to:?}");
        assert_eq!(world.shown(1, Protocol::Tcp, to), Some(vip()));
        // Another socket, and another protocol of the same one, asked for nothing.
        assert_eq!(world.shown(2, Protocol::Tcp, to), None);
        assert_eq!(world.shown(1, Protocol::Udp, to), None);
    }

    fn connections_spread_over_the_backends<A>() {
        let world = World::<A>::serving(Protocol::Tcp, 3);
        let mut counts = BTreeMap::<Vec<u8>, u32>::new();
        for cookie in 0..3_000 {
            let to = world.redirected(cookie, Protocol::Tcp, Call::Connect);
            *counts.entry(to.address.to_mapped().to_vec()).or_default() += 1;
        }
        assert_eq!(counts.len(), 3);
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    fn a_socket_that_connects_once_more_gets_another_chance<A>() {
        let world = World::<A>::serving(Protocol::Tcp, 2);
        let first = world.redirected(1, Protocol::Tcp, Call::Connect);
        let tries = (0..64).map(|_| world.redirected(1, Protocol::Tcp, Call::Connect));
        assert!(tries.into_iter().any(|to| to != first));
    }

    // S-51.
    fn datagrams_of_a_socket_stay_with_a_backend_until_it_is_gone<A>() {
        let mut world = World::<A>::serving(Protocol::Udp, 3);
        let first = world.redirected(1, Protocol::Udp, Call::Send);
        for _ in 0..100 {
            assert_eq!(world.redirected(1, Protocol::Udp, Call::Send), first);
        }
        assert_eq!(world.written.get(), 1, "what is remembered is not written again");
        let left = (1..=3).filter(|n| A::pod(*n) != first.address);
        world.serve(Protocol::Udp, left);
        let second = world.redirected(1, Protocol::Udp, Call::Send);
        assert_ne!(second, first);
        // A late answer of the first one is still shown as the VIP's.
        for backend in [first, second] {
            assert_eq!(world.shown(1, Protocol::Udp, backend), Some(vip()));
        }
    }

    fn datagrams_of_many_sockets_spread_over_the_backends<A>() {
        let world = World::<A>::serving(Protocol::Udp, 3);
        let mut counts = BTreeMap::<Vec<u8>, u32>::new();
        for cookie in 0..3_000 {
            let to = world.redirected(cookie, Protocol::Udp, Call::Send);
            *counts.entry(to.address.to_mapped().to_vec()).or_default() += 1;
        }
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    fn who_turns_to_the_backend_itself_is_shown_the_backend<A>() {
        for call in [Call::Connect, Call::Send] {
            let world = World::<A>::serving(Protocol::Udp, 1);
            let backend = world.redirected(1, Protocol::Udp, call);
            let verdict = world.call(&request(1, Protocol::Udp, backend), call);
            assert_eq!((verdict.action, verdict.reason), (SocketAction::Pass, Reason::NotForService));
            assert_eq!(world.shown(1, Protocol::Udp, backend), None);
        }
    }

    // S-30 a.
    fn a_service_without_endpoints_refuses<A>() {
        for (protocol, call) in [
            (Protocol::Tcp, Call::Connect),
            (Protocol::Udp, Call::Connect),
            (Protocol::Udp, Call::Send),
        ] {
            let world = World::<A>::serving(protocol, 0);
            let verdict = world.call(&request(1, protocol, vip()), call);
            assert_eq!(
                (verdict.action, verdict.reason),
                (SocketAction::Refuse, Reason::SocketNoEndpoint)
            );
        }
    }

    // S-30 c.
    fn a_port_that_a_vip_does_not_have_is_refused_and_other_addresses_pass<A>() {
        let mut world = World::<A>::serving(Protocol::Tcp, 1);
        // As if the other address shared the VIP's bit.
        world.tables.vip_filter.insert(crate::vip_filter::bit(&A::pod(50)));
        for (protocol, peer, action, reason) in [
            (Protocol::Tcp, end(A::vip(10), 81), SocketAction::Refuse, Reason::SocketUnknownPort),
            (Protocol::Udp, vip(), SocketAction::Refuse, Reason::SocketUnknownPort),
            (Protocol::Tcp, end(A::pod(50), 80), SocketAction::Pass, Reason::NotForService),
            (Protocol::Tcp, end(A::vip(11), 80), SocketAction::Pass, Reason::NotForService),
        ] {
            let verdict = world.call(&request(1, protocol, peer), Call::Connect);
            assert_eq!((verdict.action, verdict.reason), (action, reason), "{peer:?}");
        }
    }

    fn an_address_of_a_service_cidr_that_no_service_has_fails_as_a_drop_would_s30d<A>() {
        let mut world = World::<A>::serving(Protocol::Tcp, 1);
        let tables = &mut world.tables;
        tables.service_cidrs = ServiceCidrs::new([(A::vip(0), A::OCTETS as u32 * 8 - 8)]);
        tables.unserved.insert(A::vip(13));
        // As if this one shared a VIP's bit.
        tables.vip_filter.insert(crate::vip_filter::bit(&A::vip(12)));
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let (nobody, nothing) = (Reason::SocketUnallocated, Reason::NotForService);
        for (to, protocol, call, action, reason) in [
            (A::vip(11), tcp, Call::Connect, SocketAction::TimeOut, nobody),
            (A::vip(12), tcp, Call::Connect, SocketAction::TimeOut, nobody),
            (A::vip(11), udp, Call::Connect, SocketAction::Forbid, nobody),
            (A::vip(12), udp, Call::Send, SocketAction::Forbid, nobody),
            (A::vip(13), tcp, Call::Connect, SocketAction::Pass, nothing),
            (A::pod(50), tcp, Call::Connect, SocketAction::Pass, nothing),
            (A::vip(10), tcp, Call::Connect, SocketAction::Redirect, Reason::SocketForward),
        ] {
            let verdict = world.call(&request(1, protocol, end(to, 80)), call);
            assert_eq!((verdict.action, verdict.reason), (action, reason), "{to:?}");
        }
    }

    // S-23, S-30 b.
    fn a_local_service_without_a_local_endpoint_fails_as_a_drop_would<A>() {
        for (protocol, call, action) in [
            (Protocol::Tcp, Call::Connect, SocketAction::TimeOut),
            (Protocol::Udp, Call::Connect, SocketAction::Forbid),
            (Protocol::Udp, Call::Send, SocketAction::Forbid),
        ] {
            let mut world = World::<A>::serving(protocol, 2);
            let key = FrontendKey::new(A::vip(10), Port::new(80), protocol);
            let elsewhere = Frontend::new(
                SERVICE,
                world.tables.frontends[&key].cluster(),
                SlotRange::default(),
                0,
                Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS,
            );
            world.tables.put_frontend(A::vip(10), 80, protocol, elsewhere);
            let verdict = world.call(&request(1, protocol, vip()), call);
            assert_eq!(
                (verdict.action, verdict.reason),
                (action, Reason::SocketNoLocalEndpoint)
            );
        }
    }

    fn slots_of_another_service_port_and_of_no_backend_are_passed_over<A>() {
        let mut world = World::<A>::serving(Protocol::Tcp, 2);
        let all: Vec<u32> = world.tables.backends.keys().copied().collect();
        world.tables.backends.clear();
        let verdict = world.call(&request(1, Protocol::Tcp, vip()), Call::Connect);
        assert_eq!(
            (verdict.action, verdict.reason),
            (SocketAction::Refuse, Reason::SocketBackendMissing)
        );
        for id in all {
            let foreign = Backend::new(
                end(A::pod(9), 8080),
                crate::backend::BackendState::Active,
                id,
                SERVICE + 1,
            );
            world.tables.backends.insert(id, foreign);
        }
        let verdict = world.call(&request(1, Protocol::Tcp, vip()), Call::Connect);
        assert_eq!(verdict.action, SocketAction::Refuse);
        assert!(world.peers.borrow().is_empty());
    }
}

#[test]
fn host_covers_the_agents_namespace_and_all_the_others_but_for_what_would_get_stuck() {
    use Call::{Ask, Connect, Send};
    use Protocol::{Tcp, Udp};
    for call in [Connect, Send, Ask] {
        for protocol in [Tcp, Udp] {
            assert!(Scope::Host.covers(true, call, protocol));
            assert!(Scope::All.covers(true, call, protocol));
            assert!(!Scope::Host.covers(false, call, protocol));
            let stuck = (call, protocol) == (Connect, Udp);
            assert_eq!(Scope::All.covers(false, call, protocol), !stuck);
        }
    }
}
