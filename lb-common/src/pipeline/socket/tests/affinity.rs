//! Sockets that stay with their backend (S-25 to S-28), over maps in memory.

use std::collections::BTreeSet;

use super::*;
use crate::backend::list;

/// Requests in a row that must reach one backend (S-28).
const CONFIRMED: u64 = 15;
const SECONDS: u32 = 60;
const CALLS: [(Protocol, Call); 3] = [
    (Protocol::Tcp, Call::Connect),
    (Protocol::Udp, Call::Connect),
    (Protocol::Udp, Call::Send),
];

/// As [`World::serving`], where clients stay with their backend for so many seconds.
fn sticky<A: Family>(protocol: Protocol, pods: u8) -> World<A> {
    let mut world = World::serving(protocol, pods);
    world.tables.set_affinity_seconds(SERVICE, SECONDS);
    world
}

/// The pods that calls of these sockets reach, in octets.
fn reached<A: Family>(
    world: &World<A>,
    cookies: impl IntoIterator<Item = u64>,
    protocol: Protocol,
    call: Call,
) -> BTreeSet<Vec<u8>> {
    let octets = |to: Endpoint<A>| to.address.to_mapped().to_vec();
    let calls = cookies.into_iter();
    calls
        .map(|cookie| octets(world.redirected(cookie, protocol, call)))
        .collect()
}

on_both_families! {
    fn the_sockets_of_a_namespace_reach_one_backend_s25_s28<A>() {
        for (protocol, call) in CALLS {
            let loose = World::<A>::serving(protocol, 3);
            assert!(reached(&loose, 0..CONFIRMED, protocol, call).len() > 1, "{call:?}");
            assert!(loose.affinity.borrow().is_empty());
            let world = sticky::<A>(protocol, 3);
            assert_eq!(reached(&world, 0..CONFIRMED, protocol, call).len(), 1, "{call:?}");
        }
    }

    fn every_namespace_is_a_client_of_its_own_s25<A>() {
        let world = sticky::<A>(Protocol::Tcp, 3);
        let of = |netns| {
            let request = Request { netns, ..request(1, Protocol::Tcp, vip::<A>()) };
            world.call(&request, Call::Connect).to
        };
        let first: Vec<_> = (1..50).map(of).collect();
        assert_eq!(first, (1..50).map(of).collect::<Vec<_>>(), "each stays");
        assert!(first.iter().any(|to| *to != first[0]), "not all at one backend");
        assert_eq!(world.affinity.borrow().len(), 49);
    }

    fn the_time_runs_from_the_last_new_connection_s26<A>() {
        for (protocol, call) in CALLS {
            let world = sticky::<A>(protocol, 3);
            let kept = reached(&world, [0], protocol, call);
            for cookie in 1..CONFIRMED {
                world.tables.advance(SECONDS - 1);
                assert_eq!(reached(&world, [cookie], protocol, call), kept, "{call:?}");
            }
            let mut seen = kept;
            for cookie in 100..120 {
                world.tables.advance(SECONDS);
                seen.extend(reached(&world, [cookie], protocol, call));
            }
            assert_eq!(seen.len(), 3, "{call:?}: balanced again");
        }
    }

    fn the_datagrams_of_one_socket_are_one_flow_and_prolong_nothing_s26<A>() {
        let world = sticky::<A>(Protocol::Udp, 3);
        let first = world.redirected(1, Protocol::Udp, Call::Send);
        let begun = world.affinity.borrow().clone();
        for _ in 0..3 * SECONDS {
            world.tables.advance(1);
            assert_eq!(world.redirected(1, Protocol::Udp, Call::Send), first);
        }
        assert_eq!(*world.affinity.borrow(), begun, "datagrams that follow are nothing new");
        // The client's time is over: other sockets are balanced, and this one's flow goes on.
        let mut others = BTreeSet::new();
        for cookie in 2..40 {
            others.extend(reached(&world, [cookie], Protocol::Udp, Call::Send));
            assert_eq!(world.redirected(1, Protocol::Udp, Call::Send), first);
            world.tables.advance(SECONDS);
        }
        assert_eq!(others.len(), 3);
    }

    fn what_a_socket_sends_within_a_second_is_not_written_down<A>() {
        let world = sticky::<A>(Protocol::Udp, 3);
        world.redirected(1, Protocol::Udp, Call::Send);
        let written = world.written.get();
        for _ in 0..20 {
            world.redirected(1, Protocol::Udp, Call::Send);
        }
        assert_eq!(world.written.get(), written);
        world.tables.advance(1);
        world.redirected(1, Protocol::Udp, Call::Send);
        assert_eq!(world.written.get(), written + 1);
    }

    fn a_socket_that_was_silent_for_long_begins_anew_s26<A>() {
        let world = sticky::<A>(Protocol::Udp, 3);
        let mut seen = BTreeSet::new();
        for _ in 0..40 {
            seen.extend(reached(&world, [1], Protocol::Udp, Call::Send));
            world.tables.advance(crate::pipeline::UDP_IDLE_SECONDS + 1);
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
        let last = world.affinity.borrow().values().map(|row| row.last).max();
        let now = Dataplane::now(&world.tables);
        let age = now.wrapping_sub(last.expect("an entry"));
        assert_eq!(age, (crate::pipeline::UDP_IDLE_SECONDS + 1) * 250, "the last one counts as new");
    }

    fn a_backend_that_is_gone_or_no_longer_selected_loses_its_clients_s27<A>() {
        for (protocol, call) in CALLS {
            let mut world = sticky::<A>(protocol, 3);
            let had = world.redirected(1, protocol, call);
            let (id, row) = {
                let mut backends = world.tables.backends.iter();
                backends.find(|(_, row)| row.endpoint() == had).map(|(id, row)| (*id, *row))
            }.expect("a backend");

            // Terminating, and still in the slots for a moment: in no list.
            world.tables.backends.insert(id, row.listed(0));
            let others: Vec<_> = (2..30).map(|cookie| world.redirected(cookie, protocol, call)).collect();
            assert!(others.iter().any(|to| *to != had), "{call:?}: {others:?}");
            // A datagram flow goes on, as one of packets would.
            if matches!(call, Call::Send) {
                assert_eq!(world.redirected(1, protocol, call), had);
            }

            world.tables.backends.remove(&id);
            assert_ne!(world.redirected(1, protocol, call), had, "{call:?}");
            let moved = reached(&world, (100..100 + CONFIRMED).chain([1]), protocol, call);
            assert_eq!(moved.len(), 1, "{call:?}");
        }
    }

    fn a_backend_of_the_other_list_is_none_to_stay_with_s27<A>() {
        let mut world = sticky::<A>(Protocol::Tcp, 2);
        let had = world.redirected(1, Protocol::Tcp, Call::Connect);
        for row in world.tables.backends.values_mut() {
            *row = row.listed(if row.endpoint() == had { list::LOCAL } else { list::CLUSTER });
        }
        let others: Vec<_> = (2..30).map(|cookie| world.redirected(cookie, Protocol::Tcp, Call::Connect)).collect();
        assert!(others.iter().any(|to| *to != had));
    }

    fn an_id_that_was_given_out_again_is_another_backend_s27_s51<A>() {
        for (protocol, call) in CALLS {
            let mut world = sticky::<A>(protocol, 3);
            let had = world.redirected(1, protocol, call);
            for row in world.tables.backends.values_mut() {
                let lists = if row.endpoint() == had { 0 } else { list::CLUSTER };
                *row = Backend::new(row.endpoint(), row.state(), row.epoch() + 100, SERVICE).listed(lists);
            }
            let to: BTreeSet<_> = (1..30).map(|cookie| world.redirected(cookie, protocol, call).address.to_mapped()).collect();
            assert!(to.len() > 1 || !to.contains(&had.address.to_mapped()), "{call:?}");
        }
    }

    fn a_process_sees_the_vip_and_the_backend_that_it_turns_to<A>() {
        let world = sticky::<A>(Protocol::Udp, 3);
        let backend = world.redirected(1, Protocol::Udp, Call::Send);
        assert_eq!(world.shown(1, Protocol::Udp, backend), Some(vip()));
        let verdict = world.call(&request(1, Protocol::Udp, backend), Call::Send);
        assert_eq!(verdict.action, SocketAction::Pass);
        assert_eq!(world.shown(1, Protocol::Udp, backend), None);
        assert_eq!(world.redirected(1, Protocol::Udp, Call::Send), backend);
        assert_eq!(world.shown(1, Protocol::Udp, backend), Some(vip()), "and the VIP again");
    }

    fn ipv4_and_ipv6_endpoints_of_a_service_port_are_two_s7<A>() {
        let world = sticky::<A>(Protocol::Tcp, 3);
        world.redirected(1, Protocol::Tcp, Call::Connect);
        let keys: Vec<_> = world.affinity.borrow().keys().copied().collect();
        let family = if A::OCTETS == 4 { 4 } else { 6 };
        assert_eq!(keys, [SocketAffinityKey::new::<A>(NODE, SERVICE)]);
        assert_eq!((keys[0].netns(), keys[0].service_id(), keys[0].family()), (NODE, SERVICE, family));
    }
}
