//! A client stays with its backend where the service port wants so (S-25 to S-28).

use std::collections::BTreeSet;

use super::*;
use crate::backend::list;
use crate::packet::sctp::ChunkType;
use crate::testing::strategies::on_both_families;

/// What conformance asks for before it calls a client sticky (S-28).
const CONFIRMED: u16 = 15;
const SECONDS: u32 = 125;

/// Three pods behind VIP 10 with affinity, and the ids of their backends.
fn sticky<A: Family>(protocol: Protocol) -> (MemoryDataplane<A>, Vec<u32>) {
    let (mut dp, ids) = serving(protocol, 3);
    dp.set_affinity_seconds(SERVICE, SECONDS);
    (dp, ids)
}

/// The frame that opens a connection or a flow from a port of pod 100.
fn opening<A: Family>(protocol: Protocol, port: u16) -> Frame<A> {
    match protocol {
        Protocol::Tcp => segment(port, SYN),
        Protocol::Udp => datagram(port),
        Protocol::Sctp => chunk(port, ChunkType::INIT),
    }
}

/// The backends of this many new connections, each from a port of its own.
#[track_caller]
fn backends_of<A: Family>(
    dp: &MemoryDataplane<A>,
    ports: std::ops::Range<u16>,
    protocol: Protocol,
) -> BTreeSet<Vec<u8>> {
    ports
        .map(|port| forwarded(dp, &opening(protocol, port)).0)
        .map(|backend| bytemuck::bytes_of(&backend).to_vec())
        .collect()
}

#[track_caller]
fn assert_stays<A: Family>(dp: &MemoryDataplane<A>, from: u16, protocol: Protocol, backend: A) {
    let backends = backends_of(dp, from..from + CONFIRMED, protocol);
    assert_eq!(backends, [bytemuck::bytes_of(&backend).to_vec()].into());
}

/// A port from which a connection would go elsewhere than to `backend`, were it not for affinity.
fn elsewhere<A: Family>(from: u16, backend: A) -> u16 {
    elsewhere_in(&serving::<A>(Protocol::Tcp, 3).0, from, backend)
}

/// The same, by the table of a Service without affinity.
fn elsewhere_in<A: Family>(dp: &MemoryDataplane<A>, from: u16, backend: A) -> u16 {
    let port = (from..).find(|port| forwarded(dp, &segment(*port, SYN)).0 != backend);
    port.expect("a port whose slot is another backend's")
}

on_both_families! {
    fn new_connections_of_a_client_go_to_one_backend_s25_s28<A>() {
        for protocol in Protocol::ALL {
            let (dp, _) = sticky::<A>(protocol);
            let (backend, _) = forwarded(&dp, &opening(protocol, 40_000));
            assert_stays(&dp, 40_001, protocol, backend);
        }
    }

    fn without_affinity_they_do_not_s28<A>() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (dp, _) = serving::<A>(protocol, 3);
            assert_eq!(backends_of(&dp, 40_000..40_015, protocol).len(), 3);
            assert!(dp.affinity.borrow().is_empty());
        }
    }

    fn clients_are_told_apart_s25<A>() {
        let (dp, _) = sticky::<A>(Protocol::Tcp);
        let backends: BTreeSet<_> = (0..60)
            .map(|n| forwarded(&dp, &segment(40_000, SYN).with_source(A::pod(n), 40_000)).0)
            .map(|backend| bytemuck::bytes_of(&backend).to_vec())
            .collect();
        assert_eq!(backends.len(), 3);
    }

    fn the_frontends_of_a_service_port_share_it_and_its_other_ports_do_not_s25<A>() {
        let (mut dp, _) = sticky::<A>(Protocol::Tcp);
        let key = FrontendKey::new(A::vip(10), Port::new(80), Protocol::Tcp);
        dp.put_frontend(A::vip(11), 8000, Protocol::Tcp, dp.frontends[&key]);
        let (backend, _) = forwarded(&dp, &segment(40_000, SYN));
        for port in 40_001..40_016 {
            let frame = segment(port, SYN).with_destination(A::vip(11), 8000);
            assert_eq!(forwarded(&dp, &frame).0, backend);
        }

        dp.serve(SERVICE + 1, A::vip(10), 443, Protocol::Tcp, &endpoints(3));
        dp.set_affinity_seconds(SERVICE + 1, SECONDS);
        forwarded(&dp, &segment(41_000, SYN).with_destination(A::vip(10), 443));
        assert_eq!(dp.affinity.borrow().len(), 2, "an entry for each service port");
    }

    fn the_time_runs_from_the_last_new_connection_s26<A>() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (dp, _) = sticky::<A>(protocol);
            let (backend, _) = forwarded(&dp, &opening(protocol, 40_000));
            for port in 40_001..40_010 {
                dp.advance(SECONDS - 1);
                assert_eq!(forwarded(&dp, &opening(protocol, port)).0, backend);
            }
            let again: BTreeSet<_> = (0..10u16)
                .flat_map(|round| {
                    dp.advance(SECONDS + 5);
                    backends_of(&dp, 42_000 + round..42_001 + round, protocol)
                })
                .collect();
            assert!(again.len() >= 2, "a client whose time is over is balanced: {again:?}");
        }
    }

    fn packets_of_a_flow_do_not_prolong_it_s26<A>() {
        for (protocol, ack) in [(Protocol::Tcp, ACK), (Protocol::Udp, 0)] {
            let (dp, _) = sticky::<A>(protocol);
            let first = opening(protocol, 40_000);
            forwarded(&dp, &first);
            let began = dp.affinity.borrow().values().next().unwrap().last;
            for _ in 0..3 {
                dp.advance(60);
                let next = if protocol == Protocol::Tcp { segment(40_000, ack) } else { first.clone() };
                assert_eq!(forwarded(&dp, &next).1, Reason::Forward);
            }
            assert_eq!(dp.affinity.borrow().values().next().unwrap().last, began);
        }
    }

    fn a_repeated_syn_does_not_prolong_it_s26<A>() {
        let (dp, _) = sticky::<A>(Protocol::Tcp);
        forwarded(&dp, &segment(40_000, SYN));
        let began = dp.affinity.borrow().values().next().unwrap().last;
        answered(&dp, &segment(40_000, SYN), SYN | ACK);
        dp.advance(3);
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)).1, Reason::Forward);
        assert_eq!(dp.affinity.borrow().values().next().unwrap().last, began);
    }

    fn a_stamp_from_a_cpu_that_is_ahead_is_new<A>() {
        let (dp, _) = sticky::<A>(Protocol::Tcp);
        let (backend, _) = forwarded(&dp, &segment(40_000, SYN));
        dp.now.set(dp.now.get() - 3);
        assert_stays(&dp, 40_001, Protocol::Tcp, backend);
    }

    fn a_client_of_a_backend_that_is_gone_moves_and_stays_there_s27<A>() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (mut dp, _) = sticky::<A>(protocol);
            let (backend, _) = forwarded(&dp, &opening(protocol, 40_000));
            let id = id_of(&dp, backend);
            retire(&mut dp, protocol, id);
            let (moved, _) = forwarded(&dp, &opening(protocol, 40_001));
            assert_ne!(moved, backend);
            assert_stays(&dp, 40_002, protocol, moved);
        }
    }

    fn an_endpoint_that_comes_back_has_lost_its_clients_s27<A>() {
        let (mut dp, _) = sticky::<A>(Protocol::Tcp);
        let (backend, _) = forwarded(&dp, &segment(40_000, SYN));
        let (mut other, _) = serving::<A>(Protocol::Tcp, 3);
        // With other ids the endpoints have other slots.
        for dp in [&mut dp, &mut other] {
            dp.serve(SERVICE, A::vip(10), 80, Protocol::Tcp, &endpoints(3));
        }
        let port = elsewhere_in(&other, 40_001, backend);
        dp.set_affinity_seconds(SERVICE, SECONDS);
        assert_ne!(forwarded(&dp, &segment(port, SYN)).0, backend);
    }

    fn an_id_that_was_given_out_again_is_another_backend_s27<A>() {
        let (mut dp, _) = sticky::<A>(Protocol::Tcp);
        let (backend, _) = forwarded(&dp, &segment(40_000, SYN));
        let port = elsewhere(40_001, backend);
        let id = id_of(&dp, backend);
        let old = dp.backends[&id];
        let new = Backend::new(old.endpoint(), old.state(), old.epoch() + 100, SERVICE);
        dp.backends.insert(id, new.listed(list::CLUSTER));
        assert_ne!(forwarded(&dp, &segment(port, SYN)).0, backend);
    }

    fn an_endpoint_that_is_no_longer_selected_keeps_its_flows_and_no_clients_s27<A>() {
        for lists in [0, list::LOCAL] {
            let (mut dp, _) = sticky::<A>(Protocol::Udp);
            let (backend, _) = forwarded(&dp, &datagram(40_000));
            let id = id_of(&dp, backend);
            // As the agent does it where an endpoint is not ready, or not for this zone: the row stays, the slots go.
            let row = dp.backends[&id];
            retire(&mut dp, Protocol::Udp, id);
            dp.backends.insert(id, row.listed(lists));
            assert_eq!(forwarded(&dp, &datagram(40_000)), (backend, Reason::Forward));
            let (moved, _) = forwarded(&dp, &datagram(40_001));
            assert_ne!(moved, backend);
            assert_stays(&dp, 40_002, Protocol::Udp, moved);
        }
    }

    fn a_local_frontend_keeps_clients_with_local_endpoints_alone_s27<A>() {
        let (mut dp, ids) = sticky::<A>(Protocol::Tcp);
        let (backend, _) = forwarded(&dp, &segment(40_000, SYN));
        let local = *ids.iter().find(|id| **id != id_of(&dp, backend)).unwrap();
        let row = dp.backends[&local];
        dp.backends.insert(local, row.listed(list::CLUSTER | list::LOCAL));
        let offset = dp.slots.len() as u32;
        dp.slots.push(local);
        let range = SlotRange { offset, len: 1 };
        let flags = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
        let frontend = Frontend::new(SERVICE, SlotRange::default(), range, SECONDS, flags);
        dp.put_frontend(A::vip(10), 80, Protocol::Tcp, frontend);
        assert_stays(&dp, 40_001, Protocol::Tcp, row.endpoint().address);
    }

    fn another_timeout_counts_at_once_s27<A>() {
        let (mut dp, _) = sticky::<A>(Protocol::Tcp);
        let (backend, _) = forwarded(&dp, &segment(40_000, SYN));
        let port = elsewhere(40_001, backend);
        dp.advance(60);
        dp.set_affinity_seconds(SERVICE, 61);
        assert_eq!(forwarded(&dp, &segment(port, SYN)).0, backend);
        dp.advance(60);
        dp.set_affinity_seconds(SERVICE, 60);
        let next = elsewhere(port + 1, backend);
        assert_ne!(forwarded(&dp, &segment(next, SYN)).0, backend);
    }

    fn affinity_is_switched_on_and_off_between_two_connections_s28<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        assert_eq!(backends_of(&dp, 40_000..40_015, Protocol::Tcp).len(), 3);
        dp.set_affinity_seconds(SERVICE, SECONDS);
        let (backend, _) = forwarded(&dp, &segment(40_100, SYN));
        assert_stays(&dp, 40_101, Protocol::Tcp, backend);
        dp.set_affinity_seconds(SERVICE, 0);
        assert_eq!(backends_of(&dp, 40_200..40_215, Protocol::Tcp).len(), 3);
    }

    fn a_connection_whose_port_already_speaks_to_the_backend_stays_with_another_source_port_s25<A>() {
        let (mut dp, _) = sticky::<A>(Protocol::Tcp);
        let (backend, _) = forwarded(&dp, &segment(40_000, SYN));
        dp.serve(SERVICE + 1, A::vip(11), 80, Protocol::Tcp, &[(backend, 8080)]);
        forwarded(&dp, &segment(40_001, SYN).with_destination(A::vip(11), 80));
        assert_eq!(forwarded(&dp, &segment(40_001, SYN)), (backend, Reason::SourcePort));
        assert_stays(&dp, 40_002, Protocol::Tcp, backend);
        assert_no_half_flow(&dp);
    }

    fn a_connection_without_an_entry_goes_to_the_clients_backend_whatever_its_age<A>() {
        let (dp, _) = sticky::<A>(Protocol::Tcp);
        let (backend, _) = forwarded(&dp, &segment(40_000, SYN));
        let port = elsewhere(40_001, backend);
        let began = dp.affinity.borrow().values().next().unwrap().last;
        dp.flows.entries.borrow_mut().clear();
        dp.advance(SECONDS + 1);
        assert_eq!(forwarded(&dp, &segment(port, ACK)).0, backend);
        assert_eq!(dp.affinity.borrow().values().next().unwrap().last, began);
    }

    fn a_full_flow_table_moves_no_client<A>() {
        let (mut dp, _) = sticky::<A>(Protocol::Tcp);
        dp.flows.capacity = 0;
        assert_eq!(send(&dp, &segment(40_000, SYN)).reason, Reason::FlowTableFull);
        assert!(dp.affinity.borrow().is_empty());
    }
}
