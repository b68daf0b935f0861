//! SCTP associations: connections like TCP's.

use super::*;
use crate::packet::sctp::ChunkType;
use crate::testing::strategies::on_both_families;

const INIT: u8 = ChunkType::INIT;
const INIT_ACK: u8 = ChunkType::INIT_ACK;
const DATA: u8 = ChunkType::DATA;
const ABORT: u8 = ChunkType::ABORT;

fn establish<A: Family>(dp: &MemoryDataplane<A>, port: u16) -> A {
    let backend = answered(dp, &chunk(port, INIT), INIT_ACK);
    let cookie = chunk(port, ChunkType::COOKIE_ECHO);
    assert_eq!(answered(dp, &cookie, ChunkType::COOKIE_ACK), backend);
    backend
}

/// The only flow's state, in a word.
fn state<A: Family>(dp: &MemoryDataplane<A>) -> &'static str {
    let entries = dp.flows.entries.borrow();
    let flow = entries.values().next().expect("a flow");
    assert_eq!(flow.protocol(), Protocol::Sctp);
    flow.state().name()
}

/// All slots go to other backends than this one.
fn turn_away<A: Family>(dp: &mut MemoryDataplane<A>, ids: &[u32], from: A) {
    let from = id_of(dp, from);
    let other = ids.iter().find(|id| **id != from).expect("another backend");
    dp.slots.fill(*other);
}

on_both_families! {
    fn an_association_lives_from_init_to_shutdown_complete<A>() {
        let (dp, _) = serving::<A>(Protocol::Sctp, 3);
        let (backend, reason) = forwarded(&dp, &chunk(40_000, INIT));
        assert_eq!((reason, state(&dp)), (Reason::NewFlow, "new"));
        assert_eq!(establish(&dp, 40_000), backend);
        assert_eq!(state(&dp), "established");
        assert_eq!(answered(&dp, &chunk(40_000, DATA), DATA), backend);
        assert_eq!(answered(&dp, &chunk(40_000, ChunkType::SHUTDOWN), DATA), backend);
        assert_eq!(state(&dp), "closing");
        assert_eq!(answered(&dp, &chunk(40_000, DATA), ChunkType::SHUTDOWN_ACK), backend);
        assert_eq!(state(&dp), "closed");
        assert_eq!(forwarded(&dp, &chunk(40_000, ChunkType::SHUTDOWN_COMPLETE)).0, backend);
        assert_eq!(state(&dp), "closed");
        assert_no_half_flow(&dp);
    }

    fn an_established_association_stays_though_its_backend_is_gone_s52<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Sctp, 3);
        let backend = establish(&dp, 40_000);
        let id = id_of(&dp, backend);
        retire(&mut dp, Protocol::Sctp, id);
        assert_eq!(forwarded(&dp, &chunk(40_000, DATA)), (backend, Reason::Forward));
        assert_eq!(answered(&dp, &chunk(40_000, DATA), DATA), backend);
        dp.frontends.clear();
        dp.backends.clear();
        dp.advance(7 * 24 * 3600);
        assert_eq!(answered(&dp, &chunk(40_000, DATA), DATA), backend);
    }

    fn an_init_selects_anew_where_the_backend_is_gone_or_the_association_over<A>() {
        for end in [ABORT, ChunkType::SHUTDOWN_COMPLETE] {
            let (mut dp, ids) = serving::<A>(Protocol::Sctp, 3);
            let backend = establish(&dp, 40_000);
            turn_away(&mut dp, &ids, backend);
            // A peer that has started again (RFC 9260 section 5.2): its backend knows what to do.
            assert_eq!(forwarded(&dp, &chunk(40_000, INIT)), (backend, Reason::Forward));
            send(&dp, &chunk(40_000, end));
            let (next, reason) = forwarded(&dp, &chunk(40_000, INIT));
            assert_eq!(reason, Reason::NewFlow);
            assert_ne!(next, backend);
            assert_no_half_flow(&dp);
            assert_eq!(dp.flows.entries.borrow().len(), 2);
        }
        let (mut dp, _) = serving::<A>(Protocol::Sctp, 3);
        let backend = establish(&dp, 40_000);
        let id = id_of(&dp, backend);
        retire(&mut dp, Protocol::Sctp, id);
        assert_eq!(forwarded(&dp, &chunk(40_000, INIT)).1, Reason::Reselected);
    }

    fn a_packet_whose_entry_was_lost_finds_the_backend_that_it_had<A>() {
        let (dp, _) = serving::<A>(Protocol::Sctp, 3);
        for port in 40_000..40_200 {
            let (backend, _) = forwarded(&dp, &chunk(port, INIT));
            dp.flows.entries.borrow_mut().clear();
            assert_eq!(forwarded(&dp, &chunk(port, DATA)), (backend, Reason::NewFlow));
            assert_eq!(forwarded(&dp, &chunk(port, DATA)), (backend, Reason::Forward));
            dp.flows.entries.borrow_mut().clear();
            for last in [ABORT, ChunkType::SHUTDOWN_COMPLETE] {
                assert_eq!(forwarded(&dp, &chunk(port, last)).0, backend);
                assert!(dp.flows.entries.borrow().is_empty(), "nothing follows");
            }
        }
    }

    fn an_association_without_endpoints_is_refused_s30<A>() {
        let (dp, _) = serving::<A>(Protocol::Sctp, 0);
        let verdict = send(&dp, &chunk(40_000, INIT));
        assert_eq!((verdict.action, verdict.reason), (Action::Reject, Reason::NoEndpoint));
        let elsewhere = chunk(40_000, INIT).with_destination(A::vip(10), 81);
        assert_eq!(send(&dp, &elsewhere).reason, Reason::UnknownPort);
    }

    fn tcp_udp_and_sctp_of_one_port_are_flows_of_their_own_s2<A>() {
        let mut dp = MemoryDataplane::<A>::new();
        for (id, protocol) in (1..).zip(Protocol::ALL) {
            dp.serve(id, A::vip(10), 80, protocol, &[(A::pod(id as u8), 8080)]);
        }
        assert_eq!(answered(&dp, &segment(40_000, SYN), SYN | ACK), A::pod(1));
        assert_eq!(answered(&dp, &datagram(40_000), 0), A::pod(2));
        assert_eq!(answered(&dp, &chunk(40_000, INIT), INIT_ACK), A::pod(3));
        assert_eq!(dp.flows.entries.borrow().len(), 6);
    }

    fn a_pod_associates_with_itself_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Sctp, 1);
        let sent = chunk::<A>(40_000, INIT).with_source(A::pod(1), 40_000);
        let between = sent.with_destination(A::pod(1), 8080);
        let heard = between.with_source(A::vip(10), 40_000);
        let pass = |process: fn(&MemoryDataplane<A>, &mut [u8]) -> Verdict<A>, frame: &Frame<A>| {
            let mut octets = frame.build();
            process(&dp, &mut octets);
            octets
        };
        assert_eq!(pass(MemoryDataplane::send, &sent), between.build());
        assert_eq!(pass(MemoryDataplane::receive, &between), heard.build());
        let answer = heard.reversed();
        let between = answer.with_destination(A::pod(1), 40_000);
        assert_eq!(pass(MemoryDataplane::send, &answer), between.build());
        assert_eq!(pass(MemoryDataplane::receive, &between), sent.reversed().build());
    }

    fn a_direct_association_may_use_the_tuple_of_one_that_was_silent_for_long<A>() {
        for (seconds, is_ours) in [(210, true), (211, false)] {
            let (dp, _) = serving::<A>(Protocol::Sctp, 1);
            establish(&dp, 40_000);
            dp.advance(seconds);
            let accepted = chunk::<A>(40_000, INIT_ACK).with_destination(A::pod(1), 8080).reversed();
            assert_eq!(receive(&dp, &accepted).reason == Reason::Reply, is_ours);
        }
        for (seconds, is_ours) in [(120, true), (121, false)] {
            let (dp, _) = serving::<A>(Protocol::Sctp, 1);
            send(&dp, &chunk(40_000, INIT));
            dp.advance(seconds);
            let accepted = chunk::<A>(40_000, INIT_ACK).with_destination(A::pod(1), 8080).reversed();
            assert_eq!(receive(&dp, &accepted).reason == Reason::Reply, is_ours);
        }
    }
}
