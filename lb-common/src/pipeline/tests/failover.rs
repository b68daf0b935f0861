//! A SYN that comes again because nobody has answered goes to another backend.

use std::collections::BTreeSet;

use super::*;
use crate::testing::strategies::on_both_families;

/// Lets so many milliseconds pass.
fn wait<A: Family>(dp: &MemoryDataplane<A>, milliseconds: u32) {
    let ticks = milliseconds * dp.ticks_per_second() / 1_000;
    dp.now.set(dp.now.get().wrapping_add(ticks));
}

/// Sends the SYN of a port after a second without an answer.
#[track_caller]
fn again<A: Family>(dp: &MemoryDataplane<A>, port: u16) -> (A, Reason) {
    dp.advance(1);
    forwarded(dp, &segment(port, SYN))
}

/// What a backend sends to the client of a port, by its own address.
fn from_backend<A: Family>(backend: A, port: u16, flags: u8) -> Frame<A> {
    Frame::new(backend, A::pod(100), L4::tcp(8080, port, flags))
}

/// A port of the client whose first SYN goes to `backend`.
fn port_for<A: Family>(pods: u8, backend: A) -> u16 {
    let (dp, _) = serving::<A>(Protocol::Tcp, pods);
    let port = (40_000..).find(|port| forwarded(&dp, &segment(*port, SYN)).0 == backend);
    port.expect("a port whose slot is the backend's")
}

on_both_families! {
    fn a_syn_that_nobody_answered_goes_to_another_backend<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        for port in 40_000..40_100 {
            let (first, _) = forwarded(&dp, &segment(port, SYN));
            let (second, reason) = again(&dp, port);
            assert_ne!(second, first);
            assert_eq!(reason, Reason::Failover);
            assert_eq!(answered(&dp, &segment(port, ACK), SYN | ACK), second);
            assert_eq!(forwarded(&dp, &segment(port, ACK)), (second, Reason::Forward));
        }
        assert_no_half_flow(&dp);
        assert_eq!(dp.flows.entries.borrow().len(), 200, "nothing is left of the first backends");
    }

    fn with_any_one_backend_dead_two_syns_are_enough_but_for_one_connection_in_hundreds<A>() {
        let (mut moved, mut stayed) = (0, 0);
        for pods in 2..20 {
            let (dp, _) = serving::<A>(Protocol::Tcp, pods);
            for port in 40_000..40_120 {
                let dead = forwarded(&dp, &segment(port, SYN)).0;
                match again(&dp, port) {
                    (backend, Reason::Failover) => {
                        assert_ne!(backend, dead, "port {port}");
                        moved += 1;
                    }
                    (backend, reason) => {
                        assert_eq!((backend, reason), (dead, Reason::Forward));
                        stayed += 1;
                    }
                }
            }
        }
        assert!(stayed * 400 <= moved, "{stayed} of {moved} found no other backend");
    }

    fn with_two_of_three_dead_every_connection_needs_three_syns_at_most<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        for port in 40_000..40_060 {
            let tried = [forwarded(&dp, &segment(port, SYN)).0, again(&dp, port).0, again(&dp, port).0];
            let distinct: BTreeSet<_> = tried.iter().map(bytemuck::bytes_of).collect();
            assert_eq!(distinct.len(), 3, "{tried:?}");
        }
    }

    fn a_syn_goes_back_to_the_first_of_two_when_the_second_is_silent_too<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 2);
        let first = forwarded(&dp, &segment(40_000, SYN)).0;
        let second = again(&dp, 40_000).0;
        assert_ne!(second, first);
        for backend in [first, second, first] {
            assert_eq!(again(&dp, 40_000), (backend, Reason::Failover));
        }
    }

    fn the_only_backend_keeps_its_flow<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Tcp, 1);
        forwarded(&dp, &segment(40_000, SYN));
        for _ in 0..6 {
            assert_eq!(again(&dp, 40_000), (A::pod(1), Reason::Forward));
        }
        assert_no_half_flow(&dp);
        assert_eq!(dp.flows.entries.borrow().len(), 2);

        // One that was alone in a table of many slots, while a writer is at work.
        dp.slots.resize(60, 0);
        dp.slots.fill(ids[0]);
        let range = SlotRange { offset: 0, len: 60 };
        let frontend = Frontend::new(SERVICE, range, SlotRange::default(), 0, Frontend::HAS_ENDPOINTS);
        dp.put_frontend(A::vip(10), 80, Protocol::Tcp, frontend);
        assert_eq!(again(&dp, 40_000), (A::pod(1), Reason::Forward));
    }

    fn a_copy_of_a_syn_does_not_move_its_flow<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let first = forwarded(&dp, &segment(40_000, SYN)).0;
        for _ in 0..3 {
            wait(&dp, 60);
            assert_eq!(forwarded(&dp, &segment(40_000, SYN)), (first, Reason::Forward));
        }
        wait(&dp, 20);
        let (second, reason) = forwarded(&dp, &segment(40_000, SYN));
        assert_eq!(reason, Reason::Failover);
        // The time runs anew for the backend that has it now.
        wait(&dp, 190);
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)), (second, Reason::Forward));
    }

    fn a_syn_of_a_cpu_whose_clock_is_a_tick_behind_is_a_copy<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let first = forwarded(&dp, &segment(40_000, SYN)).0;
        dp.now.set(dp.now.get().wrapping_sub(1));
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)), (first, Reason::Forward));
    }

    fn a_syn_of_an_answered_flow_stays<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        // The SYN-ACK got lost behind the node.
        let first = answered(&dp, &segment(40_000, SYN), SYN | ACK);
        assert_eq!(again(&dp, 40_000), (first, Reason::Forward));
        assert_eq!(forwarded(&dp, &segment(40_000, ACK)), (first, Reason::Forward));
        assert_eq!(again(&dp, 40_000), (first, Reason::Forward));
    }

    fn a_segment_that_opens_nothing_never_moves_a_flow<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let first = forwarded(&dp, &segment(40_000, SYN)).0;
        for flags in [ACK, FIN_ACK, SYN | ACK, RST] {
            dp.advance(1);
            assert_eq!(forwarded(&dp, &segment(40_000, flags)), (first, Reason::Forward));
        }
    }

    fn a_udp_flow_that_nobody_answers_stays<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 3);
        let first = forwarded(&dp, &datagram(40_000)).0;
        for _ in 0..6 {
            dp.advance(1);
            assert_eq!(forwarded(&dp, &datagram(40_000)), (first, Reason::Forward));
        }
    }

    fn a_late_answer_of_the_first_backend_is_not_the_services<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let first = forwarded(&dp, &segment(40_000, SYN)).0;
        let second = again(&dp, 40_000).0;
        // The client's kernel knows no connection with that address, and resets it.
        let late = receive(&dp, &from_backend(first, 40_000, SYN | ACK));
        assert_eq!((late.action, late.reason), (Action::Pass, Reason::NotForService));
        assert_eq!(answered(&dp, &segment(40_000, SYN), SYN | ACK), second);
    }

    fn a_connection_without_an_entry_is_not_balanced_again<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        for port in 40_000..40_060 {
            let first = forwarded(&dp, &segment(port, SYN)).0;
            dp.flows.entries.borrow_mut().clear();
            for _ in 0..3 {
                dp.advance(1);
                assert_eq!(forwarded(&dp, &segment(port, ACK)).0, first);
            }
        }
    }

    fn a_port_that_is_used_again_begins_at_its_slot<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let first = forwarded(&dp, &segment(40_000, SYN)).0;
        let second = again(&dp, 40_000).0;
        assert_eq!(answered(&dp, &segment(40_000, ACK), RST | ACK), second);
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)), (first, Reason::NewFlow));
        assert_no_half_flow(&dp);
    }

    fn a_client_with_affinity_moves_and_stays_where_it_was_answered_s25_s27<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        dp.set_affinity_seconds(SERVICE, 10_800);
        let first = forwarded(&dp, &segment(40_000, SYN)).0;
        let waiting = forwarded(&dp, &segment(40_001, SYN)).0;
        assert_eq!(waiting, first);
        let second = again(&dp, 40_000).0;
        assert_ne!(second, first);
        // New connections go where the client is now; so does one that waits as well.
        assert_eq!(forwarded(&dp, &segment(40_001, SYN)), (second, Reason::Failover));
        for port in 40_002..40_017 {
            assert_eq!(forwarded(&dp, &segment(port, SYN)), (second, Reason::NewFlow));
        }
    }

    fn a_client_with_affinity_to_the_only_backend_stays_and_its_time_runs_on_s26<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 1);
        dp.set_affinity_seconds(SERVICE, 10_800);
        forwarded(&dp, &segment(40_000, SYN));
        let began = dp.affinity.borrow().values().next().unwrap().last;
        assert_eq!(again(&dp, 40_000), (A::pod(1), Reason::Forward));
        assert_eq!(dp.affinity.borrow().values().next().unwrap().last, began);
    }

    fn a_local_frontend_fails_over_to_local_endpoints_alone_s23<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Tcp, 4);
        let offset = dp.slots.len() as u32;
        dp.slots.extend((0..60).map(|i| ids[i % 2]));
        let range = SlotRange { offset, len: 60 };
        let flags = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
        let frontend = Frontend::new(SERVICE, dp.frontends[&FrontendKey::new(A::vip(10), Port::new(80), Protocol::Tcp)].cluster(), range, 0, flags);
        dp.put_frontend(A::vip(10), 80, Protocol::Tcp, frontend);
        for port in 40_000..40_030 {
            let first = forwarded(&dp, &segment(port, SYN)).0;
            let second = again(&dp, port).0;
            assert_ne!(first, second);
            assert!([first, second].iter().all(|backend| [A::pod(1), A::pod(2)].contains(backend)));
        }
    }

    fn a_pod_that_does_not_answer_itself_reaches_another_and_leaves_no_mirror_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 2);
        let to_itself = |port| segment::<A>(port, SYN).with_source(A::pod(1), port);
        let port = (40_000..).find(|port| forwarded(&dp, &to_itself(*port)).0 == A::pod(1)).unwrap();
        dp.flows.entries.borrow_mut().clear();
        forwarded(&dp, &to_itself(port));
        assert_eq!(dp.flows.entries.borrow().len(), 4);
        dp.advance(1);
        assert_eq!(forwarded(&dp, &to_itself(port)), (A::pod(2), Reason::Failover));
        assert_eq!(dp.flows.entries.borrow().len(), 2);
        // And the other way round.
        dp.advance(1);
        assert_eq!(forwarded(&dp, &to_itself(port)), (A::pod(1), Reason::Failover));
        assert_eq!(dp.flows.entries.borrow().len(), 4);
        assert_no_half_flow(&dp);
    }

    fn a_flow_whose_backend_is_gone_by_then_has_another<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        let first = forwarded(&dp, &segment(40_000, SYN)).0;
        let id = id_of(&dp, first);
        retire(&mut dp, Protocol::Tcp, id);
        let (second, reason) = again(&dp, 40_000);
        assert_ne!(second, first);
        assert_eq!(reason, Reason::Failover);
        assert_no_half_flow(&dp);
    }

    fn a_service_that_has_no_endpoint_by_then_refuses_s30<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        forwarded(&dp, &segment(40_000, SYN));
        let none = SlotRange::default();
        dp.put_frontend(A::vip(10), 80, Protocol::Tcp, Frontend::new(SERVICE, none, none, 0, 0));
        dp.advance(1);
        let verdict = send(&dp, &segment(40_000, SYN));
        assert_eq!((verdict.action, verdict.reason), (Action::Reject, Reason::NoEndpoint));
        assert!(dp.flows.entries.borrow().is_empty());
    }

    fn a_tuple_that_another_frontend_has_at_the_next_backend_is_left_to_it<A>() {
        let mut dp = MemoryDataplane::<A>::new();
        dp.serve(SERVICE, A::vip(10), 80, Protocol::Tcp, &endpoints(3));
        let port = port_for::<A>(3, A::pod(1));
        // The same client port speaks to one of the others through another VIP.
        dp.serve(SERVICE + 1, A::vip(11), 80, Protocol::Tcp, &[(A::pod(2), 8080)]);
        answered(&dp, &segment(port, SYN).with_destination(A::vip(11), 80), SYN | ACK);
        forwarded(&dp, &segment(port, SYN));
        dp.advance(1);
        assert_ne!(forwarded(&dp, &segment(port, SYN)).0, A::pod(2));
        let other = receive(&dp, &from_backend(A::pod(2), port, ACK));
        assert_eq!(other.rewrite.to.address, A::vip(11));
    }

    fn a_flow_says_which_backend_never_answered<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let first = forwarded(&dp, &segment(40_000, SYN)).0;
        assert!(dp.flows.entries.borrow().values().all(|flow| flow.previous_id() == 0));
        again(&dp, 40_000);
        let id = id_of(&dp, first);
        assert!(dp.flows.entries.borrow().values().all(|flow| flow.previous_id() == id));
    }
}
