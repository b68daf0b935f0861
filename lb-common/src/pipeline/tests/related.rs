//! ICMP errors about packets of a flow (S-32): what comes out is the error that would have been made without a translation.

use super::*;
use crate::packet::sctp::ChunkType;
use crate::testing::strategies::{anything, holds, on_both_families, whole};

/// Octets of the quoted packet: eight of its transport header, the header, all.
fn lengths<A: Family>(frame: &Frame<A>) -> [usize; 4] {
    let ip = frame.ip_len();
    [ip + 8, ip + 14, ip + 20, usize::MAX]
}

/// All types of errors, and codes that matter.
fn kinds<A: Family>() -> &'static [[u8; 2]] {
    if A::OCTETS == 4 {
        &[[3, 1], [3, 3], [3, 4], [3, 13], [11, 0], [11, 1], [12, 0]]
    } else {
        &[[1, 0], [1, 4], [2, 0], [3, 0], [4, 1]]
    }
}

type Process<A> = fn(&MemoryDataplane<A>, &mut [u8]) -> Verdict<A>;

/// Sends or receives an error, and expects another to come out.
#[track_caller]
fn check<A: Family>(
    process: Process<A>,
    dp: &MemoryDataplane<A>,
    given: &Frame<A>,
    expected: &Frame<A>,
) {
    let flows = dp.flows.entries.borrow().clone();
    let mut octets = given.build();
    let verdict = process(dp, &mut octets);
    assert_eq!(octets, expected.build(), "{verdict:?}");
    assert_eq!(
        (verdict.action, verdict.reason),
        (Action::Pass, Reason::IcmpError)
    );
    assert_eq!(*dp.flows.entries.borrow(), flows, "flows");
}

/// The error passes as it is.
#[track_caller]
fn passes<A: Family>(
    process: Process<A>,
    dp: &MemoryDataplane<A>,
    given: &Frame<A>,
    reason: Reason,
) {
    let flows = dp.flows.entries.borrow().clone();
    let mut octets = given.build();
    let verdict = process(dp, &mut octets);
    assert_eq!(octets, given.build(), "{verdict:?}");
    assert_eq!((verdict.action, verdict.reason), (Action::Pass, reason));
    assert_eq!(*dp.flows.entries.borrow(), flows, "flows");
}

/// A data plane that has led a packet to the backend; the packet, and as the backend has it.
fn led<A: Family>(sent: &Frame<A>) -> (MemoryDataplane<A>, Frame<A>, Frame<A>) {
    let protocol = protocol_of(sent);
    let (dp, _) = serving::<A>(protocol, 1);
    let mut sent = sent
        .with_source(A::pod(100), 40_000)
        .with_destination(A::vip(10), 80);
    // A reset leaves no flow, nor does the end of an association.
    match &mut sent.l4 {
        L4::Tcp { flags, .. } => *flags = SYN,
        L4::Sctp { chunk, .. } => *chunk = ChunkType::DATA,
        L4::Udp { .. } | L4::Other { .. } => {}
    }
    assert_eq!(send(&dp, &sent).action, Action::Rewrite);
    let at_backend = sent.with_destination(A::pod(1), 8080);
    (dp, sent, at_backend)
}

on_both_families! {
    fn an_error_about_a_packet_to_the_backend_tells_the_client_of_the_vip_s32<A>() {
        holds(whole::<A>(), |sent| {
            let (dp, sent, at_backend) = led(&sent);
            for kind in kinds::<A>() {
                for len in lengths(&sent) {
                    // A router speaks for itself, the backend for the VIP.
                    for (by, from) in [(A::pod(200), A::pod(200)), (A::pod(1), A::vip(10))] {
                        let given = at_backend.icmp_error(by, *kind, len);
                        check(MemoryDataplane::receive, &dp, &given, &sent.icmp_error(from, *kind, len));
                    }
                }
            }
        });
    }

    fn an_error_about_an_answer_goes_from_the_client_to_the_backend_s32<A>() {
        holds(whole::<A>(), |sent| {
            let (dp, sent, at_backend) = led(&sent);
            let (answer, heard) = (at_backend.reversed(), sent.reversed());
            for kind in kinds::<A>() {
                for len in lengths(&answer) {
                    let given = heard.icmp_error(A::pod(100), *kind, len);
                    let expected = answer.icmp_error(A::pod(100), *kind, len);
                    check(MemoryDataplane::send, &dp, &given, &expected);
                }
            }
        });
    }

    fn an_error_of_a_pod_that_reached_itself_comes_back_to_it_s32_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 1);
        let sent = datagram::<A>(40_000).with_source(A::pod(1), 40_000);
        send(&dp, &sent);
        let between = sent.with_destination(A::pod(1), 8080);
        let heard = between.with_source(A::vip(10), 40_000);
        let kind = kinds::<A>()[1];
        let [out, within, back] = [
            heard.icmp_error(A::pod(1), kind, 200),
            between.icmp_error(A::pod(1), kind, 200),
            sent.icmp_error(A::vip(10), kind, 200),
        ];
        check(MemoryDataplane::send, &dp, &out, &within);
        check(MemoryDataplane::receive, &dp, &within, &back);
    }

    fn errors_about_packets_of_no_flow_pass_s32<A>() {
        let (dp, sent, at_backend) = led(&datagram::<A>(40_000));
        let kind = kinds::<A>()[0];
        let others = [
            at_backend.with_source(A::pod(100), 40_001),
            at_backend.with_destination(A::pod(1), 8081),
            at_backend.with_destination(A::pod(2), 8080),
            sent.clone(),
        ];
        for other in others {
            let error = other.icmp_error(A::pod(200), kind, 200);
            passes(MemoryDataplane::receive, &dp, &error, Reason::NotForService);
        }
        let unknown = sent.with_source(A::pod(100), 40_001).reversed();
        let error = unknown.icmp_error(A::pod(100), kind, 200);
        passes(MemoryDataplane::send, &dp, &error, Reason::UnknownProtocol);
        // What is quoted was not sent by whom the error goes to.
        let mut forged = at_backend.icmp_error(A::pod(200), kind, 200);
        forged.ip.destination = A::pod(101);
        passes(MemoryDataplane::receive, &dp, &forged, Reason::NotForService);
    }

    fn errors_about_a_flow_that_is_over_pass_s32<A>() {
        let (dp, _, at_backend) = led(&datagram::<A>(40_000));
        dp.advance(121);
        let error = at_backend.icmp_error(A::pod(200), kinds::<A>()[0], 200);
        passes(MemoryDataplane::receive, &dp, &error, Reason::NotForService);
    }

    fn messages_that_are_no_errors_pass_whatever_they_hold_s32<A>() {
        let (dp, sent, at_backend) = led(&datagram::<A>(40_000));
        for kind in (0..=u8::MAX).filter(|kind| !A::is_error(*kind)) {
            let message = at_backend.icmp_error(A::pod(200), [kind, 0], 200);
            passes(MemoryDataplane::receive, &dp, &message, Reason::NotForService);
            if kind == A::ECHO_REQUEST {
                continue;
            }
            let message = sent.reversed().icmp_error(A::pod(100), [kind, 0], 200);
            passes(MemoryDataplane::send, &dp, &message, Reason::UnknownProtocol);
        }
    }

    fn an_error_that_quotes_less_than_the_ports_passes_s32<A>() {
        let (dp, _, at_backend) = led(&datagram::<A>(40_000));
        for len in 0..at_backend.ip_len() + 8 {
            let error = at_backend.icmp_error(A::pod(200), kinds::<A>()[0], len);
            passes(MemoryDataplane::receive, &dp, &error, Reason::NotForService);
            // Padding of the link does not make it longer.
            let mut octets = [error.build(), vec![0; 64]].concat();
            assert_eq!(dp.receive(&mut octets).reason, Reason::NotForService);
        }
    }

    fn an_error_about_the_first_fragment_of_a_datagram_is_translated_s32_s33<A>() {
        let (dp, sent, at_backend) = led(&datagram::<A>(40_000));
        for (fragment, expected) in at_backend.fragments(7, 8).iter().zip(sent.fragments(7, 8)).take(1) {
            let kind = kinds::<A>()[2];
            check(MemoryDataplane::receive, &dp, &fragment.icmp_error(A::pod(200), kind, 200), &expected.icmp_error(A::pod(200), kind, 200));
        }
        let later = at_backend.fragments(7, 8)[1].icmp_error(A::pod(200), kinds::<A>()[2], 200);
        passes(MemoryDataplane::receive, &dp, &later, Reason::NotForService);
    }

    fn errors_about_anything_else_pass_s32<A>() {
        let (dp, _, _) = led(&datagram::<A>(40_000));
        holds(anything::<A>(), |frame| {
            let error = frame.icmp_error(A::pod(200), kinds::<A>()[0], 100);
            passes(MemoryDataplane::receive, &dp, &error, Reason::NotForService);
        });
    }
}
