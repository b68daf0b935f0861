//! Flows that would look alike to a backend, and tables without room.

use super::*;
use crate::conntrack::{Direction, Tuple};
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

/// Sends a frame that must go to a backend: the backend, why, and the port that it sees the client at.
#[track_caller]
fn led<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>) -> (A, Reason, u16) {
    let (backend, reason) = forwarded(dp, frame);
    let key = ConntrackKey::new(&tuple(frame), Direction::FromClient);
    // The last segment of a connection that nobody knows leaves no flow.
    let flows = dp.flows.entries.borrow();
    let port = flows.get(&key).map_or(0, |flow| flow.source_port().get());
    (backend, reason, port)
}

fn tuple<A: Family>(frame: &Frame<A>) -> Tuple<A> {
    let (source, destination) = frame.l4.ports().expect("a frame with ports");
    let end = |address, port| Endpoint {
        address,
        port: Port::new(port),
    };
    Tuple {
        client: end(frame.ip.source, source),
        peer: end(frame.ip.destination, destination),
        protocol: protocol_of(frame),
    }
}

/// Answers the frame from `backend`, which sees the client at this port, and holds that the answer comes from the VIP that the frame
/// went to.
#[track_caller]
fn assert_answer_comes_back<A: Family>(
    dp: &MemoryDataplane<A>,
    frame: &Frame<A>,
    backend: A,
    port: u16,
) {
    let at_backend = frame
        .with_destination(backend, 8080)
        .with_source(frame.ip.source, port);
    let mut octets = at_backend.reversed().build();
    dp.receive(&mut octets);
    assert_eq!(octets, frame.reversed().build());
}

on_both_families! {
    fn one_client_port_through_two_frontends_goes_to_two_backends<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 3);
        let mut stayed = 0;
        for port in 40_000..40_300 {
            let first = to_vip(10, L4::tcp(port, 80, SYN));
            let second = to_vip(11, L4::tcp(port, 80, SYN));
            let (a, _, a_port) = led(&dp, &first);
            let (b, reason, b_port) = led(&dp, &second);
            // Where the next slots are the same backend's as well.
            if reason == Reason::SourcePort {
                stayed += 1;
            } else {
                assert_eq!((reason, b_port), (Reason::NewFlow, port));
                assert_ne!(a, b);
            }
            assert_eq!(a_port, port);
            assert_answer_comes_back(&dp, &first, a, a_port);
            assert_answer_comes_back(&dp, &second, b, b_port);
        }
        assert!(stayed <= 300 / 50, "{stayed} of 300 found no other backend");
        assert_no_half_flow(&dp);
    }

    fn a_closed_connection_leaves_its_tuple_to_another_frontend<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        answered(&dp, &to_vip(10, L4::tcp(40_000, 80, SYN)), RST | ACK);
        let second = to_vip(11, L4::tcp(40_000, 80, SYN));
        assert_eq!(led(&dp, &second), (A::pod(1), Reason::NewFlow, 40_000));
        assert_answer_comes_back(&dp, &second, A::pod(1), 40_000);
    }

    fn a_connection_that_was_never_answered_keeps_its_tuple_for_120_seconds<A>() {
        for (seconds, keeps) in [(120, true), (121, false)] {
            let dp = two_frontends::<A>(Protocol::Tcp, 1);
            forwarded(&dp, &to_vip(10, L4::tcp(40_000, 80, SYN)));
            dp.advance(seconds);
            let second = to_vip(11, L4::tcp(40_000, 80, SYN));
            assert_eq!(forwarded(&dp, &second).1 == Reason::SourcePort, keeps, "after {seconds} s");
            assert_no_half_flow(&dp);
        }
    }

    fn an_established_connection_keeps_its_tuple_for_a_day_s53<A>() {
        for (seconds, keeps) in [(24 * 3600, true), (24 * 3600 + 1, false)] {
            let dp = two_frontends::<A>(Protocol::Tcp, 1);
            answered(&dp, &to_vip(10, L4::tcp(40_000, 80, SYN)), SYN | ACK);
            dp.advance(seconds);
            let second = to_vip(11, L4::tcp(40_000, 80, SYN));
            assert_eq!(forwarded(&dp, &second).1 == Reason::SourcePort, keeps, "after {seconds} s");
            assert_no_half_flow(&dp);
        }
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
        let (backend, reason, port) = led(&dp, &first);
        assert_eq!(reason, Reason::SourcePort);
        assert_answer_comes_back(&dp, &first, backend, port);
        assert_answer_comes_back(&dp, &second, A::pod(1), 40_000);
        assert_no_half_flow(&dp);

        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        let [first, second] = [10, 11].map(|vip| to_vip(vip, L4::tcp(40_000, 80, SYN)));
        answered(&dp, &first, RST | ACK);
        answered(&dp, &second, SYN | ACK);
        let (backend, reason, port) = led(&dp, &first);
        assert_eq!(reason, Reason::SourcePort);
        assert_answer_comes_back(&dp, &first, backend, port);
        assert_answer_comes_back(&dp, &second, A::pod(1), 40_000);
        assert_no_half_flow(&dp);
    }

    fn a_late_segment_of_a_displaced_connection_is_none_of_the_other_s<A>() {
        let dp = two_frontends::<A>(Protocol::Tcp, 1);
        answered(&dp, &to_vip(10, L4::tcp(40_000, 80, SYN)), SYN | ACK);
        answered(&dp, &to_vip(10, L4::tcp(40_000, 80, FIN_ACK)), FIN_ACK);
        let second = to_vip(11, L4::tcp(40_000, 80, SYN));
        answered(&dp, &second, SYN | ACK);
        dp.advance(1);
        for flags in [ACK, FIN_ACK, RST] {
            let (_, _, port) = led(&dp, &to_vip(10, L4::tcp(40_000, 80, flags)));
            assert_ne!(port, 40_000);
            assert_answer_comes_back(&dp, &second, A::pod(1), 40_000);
            assert_no_half_flow(&dp);
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
        assert_eq!(forwarded(&dp, &second).1, Reason::SourcePort);
    }

    // It may be a forged one.
    fn a_segment_of_no_known_connection_that_nobody_answers_keeps_its_tuple_as_a_syn_does<A>() {
        for (seconds, reason) in [(120, Reason::SourcePort), (121, Reason::NewFlow)] {
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
