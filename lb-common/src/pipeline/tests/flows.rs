//! What becomes of a flow while its backends, its Service and the time change.

use super::*;
use crate::backend::BackendState;
use crate::testing::strategies::on_both_families;

fn reject_reason<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>) -> Reason {
    let verdict = send(dp, frame);
    assert_eq!(verdict.action, Action::Reject, "{verdict:?}");
    verdict.reason
}

on_both_families! {
    fn an_established_connection_stays_though_its_backend_is_gone_s50<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        let backend = answered(&dp, &segment(40_000, SYN), SYN | ACK);
        let id = id_of(&dp, backend);
        retire(&mut dp, Protocol::Tcp, id);
        assert_eq!(forwarded(&dp, &segment(40_000, ACK)), (backend, Reason::Forward));
        assert_eq!(answered(&dp, &segment(40_000, ACK), ACK), backend);
        assert_eq!(answered(&dp, &segment(40_000, FIN_ACK), FIN_ACK), backend);
    }

    fn an_established_connection_stays_though_no_endpoint_is_left_s50<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Tcp, 1);
        let backend = answered(&dp, &segment(40_000, SYN), SYN | ACK);
        retire(&mut dp, Protocol::Tcp, ids[0]);
        assert_eq!(forwarded(&dp, &segment(40_000, ACK)), (backend, Reason::Forward));
        assert_eq!(reject_reason(&dp, &segment(40_001, SYN)), Reason::NoEndpoint);
    }

    fn an_established_connection_outlives_its_service_s50<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        let backend = answered(&dp, &segment(40_000, SYN), SYN | ACK);
        dp.frontends.clear();
        dp.backends.clear();
        assert_eq!(answered(&dp, &segment(40_000, ACK), ACK), backend);
        assert_eq!(send(&dp, &segment(40_001, SYN)).reason, Reason::NotForService);
    }

    fn a_syn_on_a_new_flow_whose_backend_is_gone_selects_again<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        let (first, _) = forwarded(&dp, &segment(40_000, SYN));
        let id = id_of(&dp, first);
        retire(&mut dp, Protocol::Tcp, id);
        let (second, reason) = forwarded(&dp, &segment(40_000, SYN));
        assert_eq!(reason, Reason::Reselected);
        assert_ne!(second, first);
        assert_no_half_flow(&dp);
        assert_eq!(dp.flows.entries.borrow().len(), 2);
    }

    fn a_stamp_by_a_clock_that_is_ahead_is_left_as_it_is<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        answered(&dp, &segment(40_000, SYN), SYN | ACK);
        answered(&dp, &segment(40_000, ACK), ACK);
        let stamp = dp.now.get();
        dp.now.set(stamp.wrapping_sub(1));
        answered(&dp, &segment(40_000, ACK), ACK);
        let flows = dp.flows.entries.borrow();
        assert!(flows.values().all(|flow| flow.last_seen() == stamp), "{flows:?}");
    }

    fn a_repeated_syn_goes_to_the_same_backend<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let (first, _) = forwarded(&dp, &segment(40_000, SYN));
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)), (first, Reason::Forward));
    }

    fn a_repeated_syn_of_an_answered_flow_does_not_move_it_when_slots_change<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Tcp, 3);
        let backend = answered(&dp, &segment(40_000, SYN), SYN | ACK);
        let others: Vec<_> = ids.into_iter().filter(|id| *id != id_of(&dp, backend)).collect();
        dp.slots.fill(others[0]);
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)), (backend, Reason::Forward));
        assert_eq!(forwarded(&dp, &segment(40_000, ACK)), (backend, Reason::Forward));
    }

    fn a_terminating_backend_keeps_its_flows_s22<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Udp, 3);
        let backend = answered(&dp, &datagram(40_000), 0);
        let id = id_of(&dp, backend);
        let old = dp.backends[&id];
        let row = Backend::new(old.endpoint(), BackendState::Terminating, old.epoch(), SERVICE);
        dp.backends.insert(id, row);
        dp.slots.fill(0);
        assert_eq!(forwarded(&dp, &datagram(40_000)), (backend, Reason::Forward));
    }

    fn a_syn_on_a_connection_that_both_sides_finished_selects_anew<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Tcp, 3);
        let backend = answered(&dp, &segment(40_000, SYN), SYN | ACK);
        answered(&dp, &segment(40_000, FIN_ACK), FIN_ACK);
        // The last acknowledgement still belongs to the old connection.
        assert_eq!(forwarded(&dp, &segment(40_000, ACK)), (backend, Reason::Forward));
        let others: Vec<_> = ids.into_iter().filter(|id| *id != id_of(&dp, backend)).collect();
        dp.slots.fill(others[0]);
        let (next, reason) = forwarded(&dp, &segment(40_000, SYN));
        assert_eq!(reason, Reason::NewFlow);
        assert_ne!(next, backend);
        assert_no_half_flow(&dp);
        assert_eq!(dp.flows.entries.borrow().len(), 2);
    }

    fn a_syn_on_a_reset_connection_selects_anew<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        answered(&dp, &segment(40_000, SYN), RST | ACK);
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)).1, Reason::NewFlow);
        send(&dp, &segment(40_000, RST));
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)).1, Reason::NewFlow);
    }

    fn a_half_closed_connection_is_not_finished<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let backend = answered(&dp, &segment(40_000, SYN), SYN | ACK);
        answered(&dp, &segment(40_000, FIN_ACK), ACK);
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)), (backend, Reason::Forward));
    }

    fn a_segment_whose_entry_was_lost_finds_the_backend_that_it_had<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        for port in 40_000..40_200 {
            let (backend, _) = forwarded(&dp, &segment(port, SYN));
            dp.flows.entries.borrow_mut().clear();
            assert_eq!(forwarded(&dp, &segment(port, ACK)), (backend, Reason::NewFlow));
            // It counts as answered: a connection of which only the end was seen is no new one.
            assert_eq!(forwarded(&dp, &segment(port, ACK)), (backend, Reason::Forward));
        }
    }

    fn a_segment_whose_entry_was_lost_is_entered_as_established<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        let (backend, _) = forwarded(&dp, &segment(40_000, ACK));
        let id = id_of(&dp, backend);
        retire(&mut dp, Protocol::Tcp, id);
        assert_eq!(forwarded(&dp, &segment(40_000, ACK)), (backend, Reason::Forward));
    }

    fn a_reset_of_an_unknown_connection_reaches_its_backend_and_leaves_no_flow<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let (backend, _) = forwarded(&dp, &segment(40_000, SYN));
        dp.flows.entries.borrow_mut().clear();
        assert_eq!(forwarded(&dp, &segment(40_000, RST)).0, backend);
        assert!(dp.flows.entries.borrow().is_empty());
    }

    fn a_udp_flow_whose_backend_is_gone_selects_again_s51<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Udp, 3);
        let first = answered(&dp, &datagram(40_000), 0);
        let id = id_of(&dp, first);
        retire(&mut dp, Protocol::Udp, id);
        let (second, reason) = forwarded(&dp, &datagram(40_000));
        assert_eq!(reason, Reason::Reselected);
        assert_ne!(second, first);
        assert_eq!(forwarded(&dp, &datagram(40_000)), (second, Reason::Forward));
        assert_no_half_flow(&dp);
        assert_eq!(dp.flows.entries.borrow().len(), 2);
    }

    fn a_udp_flow_whose_backends_id_went_to_another_selects_again_s51<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Udp, 1);
        assert_eq!(answered(&dp, &datagram(40_000), 0), A::pod(1));
        let endpoint = Endpoint { address: A::pod(9), port: Port::new(8080) };
        let other = Backend::new(endpoint, BackendState::Active, 99, SERVICE);
        dp.backends.insert(ids[0], other);
        assert_eq!(forwarded(&dp, &datagram(40_000)), (A::pod(9), Reason::Reselected));
        assert_no_half_flow(&dp);
    }

    fn a_udp_flow_is_refused_when_no_endpoint_is_left_s51<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Udp, 1);
        answered(&dp, &datagram(40_000), 0);
        retire(&mut dp, Protocol::Udp, ids[0]);
        assert_eq!(reject_reason(&dp, &datagram(40_000)), Reason::NoEndpoint);
        assert!(dp.flows.entries.borrow().is_empty());
    }

    fn a_udp_flow_passes_when_its_service_is_gone_s51<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Udp, 3);
        answered(&dp, &datagram(40_000), 0);
        dp.frontends.clear();
        dp.backends.clear();
        let verdict = send(&dp, &datagram(40_000));
        assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::NotForService));
        assert!(dp.flows.entries.borrow().is_empty());
    }

    fn a_udp_flow_stays_with_its_backend_when_slots_change<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Udp, 3);
        let backend = answered(&dp, &datagram(40_000), 0);
        let others: Vec<_> = ids.into_iter().filter(|id| *id != id_of(&dp, backend)).collect();
        dp.slots.fill(others[0]);
        assert_eq!(forwarded(&dp, &datagram(40_000)), (backend, Reason::Forward));
    }

    fn a_udp_flow_without_packets_for_120_seconds_is_forgotten<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 3);
        let (backend, _) = forwarded(&dp, &datagram(40_000));
        for _ in 0..5 {
            dp.advance(120);
            assert_eq!(forwarded(&dp, &datagram(40_000)), (backend, Reason::Forward));
        }
        dp.advance(121);
        assert_eq!(forwarded(&dp, &datagram(40_000)), (backend, Reason::NewFlow));
        assert_no_half_flow(&dp);
    }

    fn replies_keep_a_udp_flow_alive<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 3);
        let frame = datagram(40_000);
        let verdict = send(&dp, &frame);
        let answer = after(&frame, &verdict).reversed();
        for _ in 0..3 {
            dp.advance(100);
            assert_eq!(receive(&dp, &answer).reason, Reason::Reply);
        }
        assert_eq!(forwarded(&dp, &frame).1, Reason::Forward);
    }

    fn the_stamp_of_a_flow_is_renewed_once_a_second<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 1);
        let stamp = || dp.flows.entries.borrow().values().next().unwrap().last_seen();
        for _ in 0..2 {
            answered(&dp, &datagram(40_000), 0);
        }
        let first = stamp();
        dp.now.set(first.wrapping_add(249));
        answered(&dp, &datagram(40_000), 0);
        assert_eq!(stamp(), first);
        dp.now.set(first.wrapping_add(250));
        answered(&dp, &datagram(40_000), 0);
        assert_eq!(stamp(), first.wrapping_add(250));
    }

    fn tcp_and_udp_of_one_port_are_flows_of_their_own_s2<A>() {
        let mut dp = MemoryDataplane::<A>::new();
        dp.serve(1, A::vip(10), 80, Protocol::Tcp, &[(A::pod(1), 8080)]);
        dp.serve(2, A::vip(10), 80, Protocol::Udp, &[(A::pod(2), 8080)]);
        assert_eq!(answered(&dp, &segment(40_000, SYN), SYN | ACK), A::pod(1));
        assert_eq!(answered(&dp, &datagram(40_000), 0), A::pod(2));
        assert_eq!(dp.flows.entries.borrow().len(), 4);
    }

    fn a_direct_connection_may_use_the_tuple_of_a_finished_one<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        answered(&dp, &segment(40_000, SYN), SYN | ACK);
        answered(&dp, &segment(40_000, FIN_ACK), FIN_ACK);
        let last = segment::<A>(40_000, ACK).with_destination(A::pod(1), 8080).reversed();
        assert_eq!(receive(&dp, &last).reason, Reason::Reply, "the last segment of the finished one");

        let direct = Frame::<A>::new(A::pod(100), A::pod(1), L4::tcp(40_000, 8080, SYN));
        assert_eq!(send(&dp, &direct).reason, Reason::NotForService);
        for flags in [SYN | ACK, ACK] {
            let answer = Frame::<A>::new(A::pod(1), A::pod(100), L4::tcp(8080, 40_000, flags));
            assert_eq!(receive(&dp, &answer).reason, Reason::NotForService);
        }
        assert!(dp.flows.entries.borrow().is_empty());
    }

    fn a_direct_connection_may_use_the_tuple_of_one_that_was_never_answered<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        send(&dp, &segment(40_000, SYN));
        dp.advance(121);
        let answer = Frame::<A>::new(A::pod(1), A::pod(100), L4::tcp(8080, 40_000, SYN | ACK));
        assert_eq!(receive(&dp, &answer).reason, Reason::NotForService);
    }

    fn an_established_connection_that_was_silent_for_days_is_still_translated_s50<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        answered(&dp, &segment(40_000, SYN), SYN | ACK);
        dp.advance(7 * 24 * 3600);
        let push = segment::<A>(40_000, ACK).with_destination(A::pod(1), 8080).reversed();
        assert_eq!(receive(&dp, &push).reason, Reason::Reply);
    }

    fn a_datagram_to_a_udp_flow_that_was_forgotten_is_not_touched<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 1);
        send(&dp, &datagram(40_000));
        let late = datagram::<A>(40_000).with_destination(A::pod(1), 8080).reversed();
        dp.advance(120);
        assert_eq!(receive(&dp, &late).reason, Reason::Reply);
        dp.advance(121);
        assert_eq!(receive(&dp, &late).reason, Reason::NotForService);
        assert!(dp.flows.entries.borrow().is_empty());
    }

    fn a_stamp_that_another_cpu_wrote_a_tick_ahead_is_not_an_old_one<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 3);
        let backend = answered(&dp, &datagram(40_000), 0);
        // This CPU read the clock, the other one a tick later, and stamped before this one looked the flow up.
        dp.now.set(dp.now.get().wrapping_sub(1));
        assert_eq!(forwarded(&dp, &datagram(40_000)), (backend, Reason::Forward));
        assert_eq!(answered(&dp, &datagram(40_000), 0), backend);
    }
}
