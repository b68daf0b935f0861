//! Flows that would look alike to a backend, and tables without room.

use super::*;
use crate::testing::strategies::on_both_families;

/// VIPs 10 and 11, both served by the same pods on the same port.
fn two_frontends<A: Family>(protocol: Protocol, pods: u8) -> MemoryDataplane<A> {
    let mut dp = MemoryDataplane::new();
    dp.serve(1, A::vip(10), 80, protocol, &endpoints(pods));
    dp.serve(2, A::vip(11), 80, protocol, &endpoints(pods));
    dp
}

fn to_vip<A: Family>(n: u8, l4: L4) -> Frame<A> {
    Frame::new(A::pod(100), A::vip(n), l4)
}

/// Answers the frame from `backend`, and holds that the answer comes from the VIP that the frame went to.
#[track_caller]
fn assert_answer_comes_back<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>, backend: A) {
    let mut octets = frame.with_destination(backend, 8080).reversed().build();
    dp.receive(&mut octets);
    assert_eq!(octets, frame.reversed().build());
}

on_both_families! {
    fn one_client_port_through_two_frontends_goes_to_two_backends<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 3);
        let mut dropped = 0;
        for port in 40_000..40_300 {
            let first = to_vip(10, L4::tcp(port, 80, SYN));
            let second = to_vip(11, L4::tcp(port, 80, SYN));
            let (a, _) = forwarded(&dp, &first);
            let verdict = send(&dp, &second);
            // Where the next slots are the same backend's as well.
            if verdict.reason == Reason::TupleClash {
                dropped += 1;
                continue;
            }
            assert_ne!(verdict.rewrite.to.address, a);
            assert_answer_comes_back(&dp, &first, a);
            assert_answer_comes_back(&dp, &second, verdict.rewrite.to.address);
        }
        assert!(dropped <= 300 / 50, "{dropped} of 300 found no other backend");
        assert_no_half_flow(&dp);
    }

    fn a_tuple_that_the_only_backend_has_already_drops<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        let first = to_vip(10, L4::tcp(40_000, 80, SYN));
        forwarded(&dp, &first);
        let verdict = send(&dp, &to_vip(11, L4::tcp(40_000, 80, SYN)));
        assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::TupleClash));
        assert_answer_comes_back(&dp, &first, A::pod(1));
    }

    // The second flow of the pod would be found by what it sends to that backend.
    fn a_pod_that_speaks_from_its_own_port_does_not_reach_itself_from_the_port_it_speaks_to<A>() {
        let mut dp = MemoryDataplane::new();
        dp.serve(1, A::vip(10), 40_000, Protocol::Tcp, &[(A::pod(2), 9_000)]);
        dp.serve(2, A::vip(10), 80, Protocol::Tcp, &[(A::pod(1), 8_080)]);
        let elsewhere = Frame::new(A::pod(1), A::vip(10), L4::tcp(8_080, 40_000, SYN));
        forwarded(&dp, &elsewhere);
        let to_itself = Frame::new(A::pod(1), A::vip(10), L4::tcp(40_000, 80, SYN));
        let verdict = send(&dp, &to_itself);
        assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::TupleClash));
        assert_no_half_flow(&dp);
        assert_eq!(forwarded(&dp, &elsewhere), (A::pod(2), Reason::Forward));
    }

    fn a_closed_connection_leaves_its_tuple_to_another_frontend<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        answered(&dp, &to_vip(10, L4::tcp(40_000, 80, SYN)), RST | ACK);
        let second = to_vip(11, L4::tcp(40_000, 80, SYN));
        assert_eq!(forwarded(&dp, &second), (A::pod(1), Reason::NewFlow));
        assert_answer_comes_back(&dp, &second, A::pod(1));
    }

    fn a_connection_that_was_never_answered_keeps_its_tuple_for_120_seconds<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        let second = to_vip(11, L4::tcp(40_000, 80, SYN));
        forwarded(&dp, &to_vip(10, L4::tcp(40_000, 80, SYN)));
        dp.advance(120);
        assert_eq!(send(&dp, &second).reason, Reason::TupleClash);
        dp.advance(1);
        assert_eq!(forwarded(&dp, &second).1, Reason::NewFlow);
    }

    fn an_established_connection_keeps_its_tuple_for_a_day_s53<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        let second = to_vip(11, L4::tcp(40_000, 80, SYN));
        answered(&dp, &to_vip(10, L4::tcp(40_000, 80, SYN)), SYN | ACK);
        dp.advance(24 * 3600);
        assert_eq!(send(&dp, &second).reason, Reason::TupleClash);
        dp.advance(1);
        assert_eq!(forwarded(&dp, &second).1, Reason::NewFlow);
    }

    // A pod that binds the port which it serves, and connects to its own Service from there.
    fn a_hairpin_between_two_ends_of_one_port_is_no_flow_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        let own = Frame::new(A::pod(1), A::vip(10), L4::tcp(8080, 80, SYN));
        let verdict = send(&dp, &own);
        assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::TupleClash));
        assert!(dp.flows.entries.borrow().is_empty());
        // Another backend will do.
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        assert_ne!(forwarded(&dp, &own).0, A::pod(1));
        assert_no_half_flow(&dp);
    }

    fn a_full_table_drops_and_leaves_no_half_flow<A>() {
        for capacity in [0, 1, 2, 3, 7] {
            let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
            dp.flows.capacity = capacity;
            let verdicts: Vec<_> = (40_000..40_010).map(|port| send(&dp, &segment(port, SYN))).collect();
            let entered = capacity / 2;
            assert!(verdicts[..entered].iter().all(|v| v.reason == Reason::NewFlow));
            for verdict in &verdicts[entered..] {
                assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::FlowTableFull));
            }
            assert_eq!(dp.flows.entries.borrow().len(), entered * 2);
            assert_no_half_flow(&dp);
        }
    }

    fn a_flow_whose_tuple_was_taken_over_does_not_take_it_back<A>() {
        // A UDP flow and a finished connection, each displaced, then used again from the same port.
        let dp = two_frontends::<A>(Protocol::Udp, 1);
        let [first, second] = [10, 11].map(|vip| to_vip(vip, L4::udp(40_000, 80, b"question")));
        answered(&dp, &first, 0);
        dp.advance(121);
        answered(&dp, &second, 0);
        assert_eq!(send(&dp, &first).reason, Reason::TupleClash);
        assert_answer_comes_back(&dp, &second, A::pod(1));
        assert_no_half_flow(&dp);

        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        let [first, second] = [10, 11].map(|vip| to_vip(vip, L4::tcp(40_000, 80, SYN)));
        answered(&dp, &first, RST | ACK);
        answered(&dp, &second, SYN | ACK);
        assert_eq!(send(&dp, &first).reason, Reason::TupleClash);
        assert_answer_comes_back(&dp, &second, A::pod(1));
        assert_no_half_flow(&dp);
    }

    fn a_late_segment_of_a_displaced_connection_reaches_nobody<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        answered(&dp, &to_vip(10, L4::tcp(40_000, 80, SYN)), SYN | ACK);
        answered(&dp, &to_vip(10, L4::tcp(40_000, 80, FIN_ACK)), FIN_ACK);
        let second = to_vip(11, L4::tcp(40_000, 80, SYN));
        answered(&dp, &second, SYN | ACK);
        dp.advance(1);
        for flags in [ACK, FIN_ACK, RST] {
            let verdict = send(&dp, &to_vip(10, L4::tcp(40_000, 80, flags)));
            assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::TupleClash));
            assert_answer_comes_back(&dp, &second, A::pod(1));
        }
    }

    fn a_displaced_hairpin_is_forgotten_whole_s42<A>() {
        let dp = two_frontends::<A>(Protocol::Udp, 1);
        let [first, second] = [10, 11]
            .map(|vip| Frame::<A>::new(A::pod(1), A::vip(vip), L4::udp(40_000, 80, b"question")));
        send(&dp, &first);
        dp.advance(121);
        send(&dp, &second);
        assert_eq!(dp.flows.entries.borrow().len(), 4);
        assert_no_half_flow(&dp);
    }

    fn a_connection_whose_entry_was_lost_keeps_its_tuple_as_soon_as_it_is_answered<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        let second = to_vip(11, L4::tcp(40_000, 80, SYN));
        answered(&dp, &to_vip(10, L4::tcp(40_000, 80, ACK)), ACK);
        dp.advance(121);
        assert_eq!(send(&dp, &second).reason, Reason::TupleClash);
    }

    // It may be a forged one.
    fn a_segment_of_no_known_connection_that_nobody_answers_keeps_its_tuple_as_a_syn_does<A>() {
        for (seconds, reason) in [(120, Reason::TupleClash), (121, Reason::NewFlow)] {
            let dp = two_frontends::<A>(Protocol::Tcp, 1);
            forwarded(&dp, &to_vip(10, L4::tcp(40_000, 80, ACK)));
            dp.advance(seconds);
            assert_eq!(send(&dp, &to_vip(11, L4::tcp(40_000, 80, SYN))).reason, reason);
        }
    }

    fn a_connection_whose_entry_was_lost_ends_by_its_last_segments<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        let second = to_vip(11, L4::tcp(40_000, 80, SYN));
        answered(&dp, &to_vip(10, L4::tcp(40_000, 80, FIN_ACK)), FIN_ACK);
        assert_eq!(forwarded(&dp, &second).1, Reason::NewFlow);
    }
}
