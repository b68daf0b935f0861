//! What anybody can send makes no assured flow, and an assured flow needs no other.

use super::*;
use crate::conntrack::Table;
use crate::packet::sctp::ChunkType;
use crate::testing::Random;
use crate::testing::strategies::on_both_families;

/// A flood displaces every flow that is not assured, and those that are over.
fn displace<A: Family>(dp: &MemoryDataplane<A>) {
    let mut entries = dp.flows.entries.borrow_mut();
    entries.retain(|_, flow| flow.state().table() == Table::Conntrack);
}

fn assured<A: Family>(dp: &MemoryDataplane<A>) -> usize {
    displace(dp);
    assert_no_half_flow(dp);
    dp.flows.entries.borrow().len()
}

/// A frame from the client of `frame` to its VIP that goes on after the backend has answered `first` of the backend's.
fn exchange<A: Family>(dp: &MemoryDataplane<A>, first: &Frame<A>, answer: u8, next: &Frame<A>) {
    answered(dp, first, answer);
    send(dp, next);
}

/// All slots go to a backend that no flow has.
fn turn_away<A: Family>(dp: &mut MemoryDataplane<A>, from: A) {
    let from = id_of(dp, from);
    let other = dp.backends.keys().copied().find(|id| *id != from);
    dp.slots.fill(other.expect("another backend"));
}

on_both_families! {
    fn a_connection_is_assured_when_its_client_goes_on_after_the_answer<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        let backend = answered(&dp, &segment(40_000, SYN), SYN | ACK);
        assert_eq!(forwarded(&dp, &segment(40_000, ACK)), (backend, Reason::Forward));
        turn_away(&mut dp, backend);
        assert_eq!(assured(&dp), 2);
        // S-50: no other backend, whatever the slots say.
        assert_eq!(answered(&dp, &segment(40_000, ACK), ACK), backend);
    }

    fn the_handshake_alone_assures_nothing<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        answered(&dp, &segment(40_000, SYN), SYN | ACK);
        assert_eq!(assured(&dp), 0);
        // The client's retransmission crosses the answer.
        exchange(&dp, &segment(40_000, SYN), SYN | ACK, &segment(40_000, SYN));
        assert_eq!(assured(&dp), 0);
    }

    fn a_refusal_assures_nothing<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        exchange(&dp, &segment(40_000, SYN), RST | ACK, &segment(40_000, ACK));
        assert_eq!(assured(&dp), 0);
        // Nor does the client's own, of an answer that it never asked for.
        exchange(&dp, &segment(40_000, SYN), SYN | ACK, &segment(40_000, RST));
        assert_eq!(assured(&dp), 0);
    }

    fn one_question_and_its_answer_assure_nothing_and_the_next_question_does<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Udp, 3);
        answered(&dp, &datagram(40_000), 0);
        assert_eq!(assured(&dp), 0);
        let backend = answered(&dp, &datagram(40_000), 0);
        send(&dp, &datagram(40_000));
        assert_eq!(assured(&dp), 2);
        turn_away(&mut dp, backend);
        assert_eq!(answered(&dp, &datagram(40_000), 0), backend);
    }

    fn an_association_is_assured_by_the_cookie<A>() {
        let (dp, _) = serving::<A>(Protocol::Sctp, 3);
        answered(&dp, &chunk(40_000, ChunkType::INIT), ChunkType::INIT_ACK);
        assert_eq!(assured(&dp), 0);
        let init = chunk(40_000, ChunkType::INIT);
        exchange(&dp, &init, ChunkType::INIT_ACK, &chunk(40_000, ChunkType::COOKIE_ECHO));
        assert_eq!(assured(&dp), 2);
    }

    fn a_connection_that_is_over_is_assured_no_more<A>() {
        for last in [FIN_ACK, RST] {
            let (dp, _) = serving::<A>(Protocol::Tcp, 3);
            exchange(&dp, &segment(40_000, SYN), SYN | ACK, &segment(40_000, ACK));
            let rows = dp.flows.entries.borrow().len();
            answered(&dp, &segment(40_000, FIN_ACK), last);
            assert_eq!(dp.flows.entries.borrow().len(), rows, "its late segments still find it");
            assert_eq!(assured(&dp), 0);
        }
    }

    // An ACK from nowhere is what a connection sends whose entry was lost. Nobody but the backend can tell.
    fn a_segment_of_no_known_connection_assures_when_the_backend_answers_it<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        for _ in 0..3 {
            forwarded(&dp, &segment(40_000, ACK));
        }
        assert_eq!(assured(&dp), 0);
        exchange(&dp, &segment(40_000, ACK), RST, &segment(40_000, ACK));
        assert_eq!(assured(&dp), 0);
        exchange(&dp, &segment(40_000, ACK), ACK, &segment(40_000, ACK));
        assert_eq!(assured(&dp), 2);
    }

    // A client may open one in its place at once: it goes to the backend that the segment was taken to, not on to the next.
    fn a_syn_after_a_segment_of_no_known_connection_is_no_second_try<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let (backend, _) = forwarded(&dp, &segment(40_000, ACK));
        dp.advance(1);
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)), (backend, Reason::Forward));
    }

    fn a_pod_that_reaches_itself_is_assured_on_both_flows<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        let client = |flags| segment::<A>(40_000, flags).with_source(A::pod(1), 40_000);
        // Round the pod: out as the client, in as the backend, and back.
        let round = |sent: &Frame<A>, answer: u8| {
            let between = after(sent, &send(&dp, sent));
            let heard = after(&between, &receive(&dp, &between));
            let mut back = heard.reversed();
            if let L4::Tcp { flags, .. } = &mut back.l4 {
                *flags = answer;
            }
            let between = after(&back, &send(&dp, &back));
            assert_eq!(receive(&dp, &between).reason, Reason::Reply);
        };
        round(&client(SYN), SYN | ACK);
        assert_eq!(dp.flows.entries.borrow().len(), 4);
        assert_eq!(assured(&dp), 0);
        round(&client(SYN), SYN | ACK);
        round(&client(ACK), ACK);
        assert_eq!(assured(&dp), 4);
    }

    // Whatever is sent, in whatever order: without a backend's answer nothing is assured.
    fn no_forged_packet_reaches_the_assured_flows<A>() {
        let mut random = Random::new(3);
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let (dp, _) = serving::<A>(protocol, 3);
            for _ in 0..5_000 {
                let port = random.pick(&[40_000, 40_001, 40_002]);
                let frame = match protocol {
                    Protocol::Tcp => segment(port, random.pick(&[SYN, ACK, SYN | ACK, FIN_ACK, RST, 0])),
                    Protocol::Udp => datagram(port),
                    Protocol::Sctp => chunk(port, random.pick(&[0, 1, 2, 6, 7, 8, 10, 11, 14])),
                };
                send(&dp, &frame);
                if random.one_in(20) {
                    dp.advance(random.pick(&[1, 130]));
                }
                let entries = dp.flows.entries.borrow();
                assert!(entries.values().all(|flow| flow.state().table() == Table::Transient));
            }
        }
    }
}
