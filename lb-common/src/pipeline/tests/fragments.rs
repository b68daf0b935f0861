//! Datagrams in fragments (S-33): what comes out is the whole datagram's translation, cut at the same places.

use proptest::strategy::Strategy;

use super::*;
use crate::fragments::MOST_HELD;
use crate::packet::sctp::ChunkType;
use crate::testing::strategies::{holds, on_both_families, whole};

/// A datagram of so many octets of data, or a segment.
fn large<A: Family>(protocol: Protocol, len: usize) -> Frame<A> {
    let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    let l4 = match protocol {
        Protocol::Udp => L4::udp(40_000, 80, &payload),
        Protocol::Tcp => L4::Tcp {
            source: 40_000,
            destination: 80,
            flags: ACK,
            sequence: 1,
            options: Vec::new(),
            payload,
        },
        Protocol::Sctp => L4::Sctp {
            source: 40_000,
            destination: 80,
            tag: 7,
            chunk: ChunkType::DATA,
            value: payload,
        },
    };
    Frame::new(A::pod(100), A::vip(10), l4)
}

/// A data plane that serves VIP 10, port 80, from pod 1, and the port there. SCTP's ports must be the same for fragments.
fn serving_fragments<A: Family>(protocol: Protocol) -> (MemoryDataplane<A>, u16) {
    let port = match protocol {
        Protocol::Tcp | Protocol::Udp => 8080,
        Protocol::Sctp => 80,
    };
    let mut dp = MemoryDataplane::new();
    dp.serve(SERVICE, A::vip(10), 80, protocol, &[(A::pod(1), port)]);
    (dp, port)
}

type Process<A> = fn(&MemoryDataplane<A>, &mut [u8]) -> Verdict<A>;

/// Sends or receives a datagram in fragments: each must come out as that of the expected datagram, and the first alone counts
/// as the datagram.
#[track_caller]
fn check<A: Family>(
    process: Process<A>,
    dp: &MemoryDataplane<A>,
    [given, expected]: [&Frame<A>; 2],
    most: usize,
    reason: Reason,
) {
    let pairs = given
        .fragments(7, most)
        .into_iter()
        .zip(expected.fragments(7, most));
    for (i, (given, expected)) in pairs.enumerate() {
        let mut octets = given.build();
        let verdict = process(dp, &mut octets);
        assert_eq!(octets, expected.build(), "fragment {i}: {verdict:?}");
        let reason = if i == 0 { reason } else { Reason::Fragment };
        assert_eq!(verdict.reason, reason, "fragment {i}");
    }
}

/// Sends one fragment of a datagram.
fn send_fragment<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>, i: usize) -> Verdict<A> {
    let mut octets = frame.fragments(7, 80)[i].build();
    dp.send(&mut octets)
}

const DROPPED: (Action, Reason) = (Action::Drop, Reason::FragmentWithoutFirst);
const HELD: (Action, Reason) = (Action::Hold, Reason::FragmentHeld);

/// Sends or receives fragments in some order, and whatever is put back, until nothing more is. Returns the frames that go on.
fn in_order<A: Family>(
    process: Process<A>,
    dp: &MemoryDataplane<A>,
    fragments: &[Frame<A>],
    order: &[usize],
) -> Vec<Vec<u8>> {
    let mut to_come: std::collections::VecDeque<_> =
        order.iter().map(|i| fragments[*i].build()).collect();
    let mut gone_on = Vec::new();
    while let Some(mut octets) = to_come.pop_front() {
        let verdict = process(dp, &mut octets);
        let put_back = dp.put_back.take();
        if !put_back.is_empty() {
            assert_eq!(octets, put_back[0], "the first fragment goes ahead");
            to_come.extend(put_back);
        } else if matches!(verdict.action, Action::Rewrite | Action::Pass) {
            gone_on.push(octets);
        }
    }
    gone_on.sort();
    gone_on
}

fn built<A: Family>(fragments: &[Frame<A>]) -> Vec<Vec<u8>> {
    let mut octets: Vec<_> = fragments.iter().map(Frame::build).collect();
    octets.sort();
    octets
}

on_both_families! {
    fn a_datagram_in_fragments_is_translated_there_and_back_s33<A>() {
        for protocol in Protocol::ALL {
            for (len, most) in [(9_000, 1_480), (60_000, 1_448), (200, 64), (50, 24)] {
                let (dp, port) = serving_fragments::<A>(protocol);
                let sent = large::<A>(protocol, len);
                let at_backend = sent.with_destination(A::pod(1), port);
                check(MemoryDataplane::send, &dp, [&sent, &at_backend], most, Reason::NewFlow);
                check(MemoryDataplane::send, &dp, [&sent, &at_backend], most, Reason::Forward);
                let answer = at_backend.reversed();
                check(MemoryDataplane::receive, &dp, [&answer, &sent.reversed()], most, Reason::Reply);
            }
        }
    }

    fn any_datagram_in_fragments_of_any_size_is_translated_as_a_whole_s33<A>() {
        holds((whole::<A>(), 4usize..16), |(sent, units)| {
            let protocol = protocol_of(&sent);
            let (dp, port) = serving_fragments::<A>(protocol);
            let sent = sent.with_source(A::pod(100), 40_000).with_destination(A::vip(10), 80);
            let at_backend = sent.with_destination(A::pod(1), port);
            check(MemoryDataplane::send, &dp, [&sent, &at_backend], units * 8, Reason::NewFlow);
        });
    }

    fn a_pod_reaches_itself_with_a_large_datagram_s33_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 1);
        let sent = large::<A>(Protocol::Udp, 5_000).with_source(A::pod(1), 40_000);
        let between = sent.with_destination(A::pod(1), 8080);
        let heard = between.with_source(A::vip(10), 40_000);
        check(MemoryDataplane::send, &dp, [&sent, &between], 1_480, Reason::NewFlow);
        check(MemoryDataplane::receive, &dp, [&between, &heard], 1_480, Reason::Reply);

        let answer = heard.reversed();
        let between = answer.with_destination(A::pod(1), 40_000);
        let heard = between.with_source(A::vip(10), 80);
        check(MemoryDataplane::send, &dp, [&answer, &between], 1_480, Reason::Forward);
        check(MemoryDataplane::receive, &dp, [&between, &heard], 1_480, Reason::Reply);
    }

    fn a_datagram_is_translated_whatever_the_order_of_its_fragments_s33<A>() {
        let order = proptest::sample::subsequence((0..8usize).collect::<Vec<_>>(), 8).prop_shuffle();
        holds((order, proptest::bool::ANY), |(order, is_answer)| {
            let (dp, _) = serving::<A>(Protocol::Udp, 1);
            let sent = large::<A>(Protocol::Udp, 600);
            let at_backend = sent.with_destination(A::pod(1), 8080);
            if is_answer {
                dp.send(&mut sent.build());
                let [answer, heard] = [&at_backend, &sent].map(|f| f.reversed().fragments(7, 80));
                let gone_on = in_order(MemoryDataplane::receive, &dp, &answer, &order);
                assert_eq!(gone_on, built(&heard));
            } else {
                let [sent, expected] = [&sent, &at_backend].map(|f| f.fragments(7, 80));
                let gone_on = in_order(MemoryDataplane::send, &dp, &sent, &order);
                assert_eq!(gone_on, built(&expected));
            }
            assert!(dp.held.borrow().is_empty());
        });
    }

    fn a_datagram_for_no_service_reaches_a_pod_as_it_was_in_any_order_s33<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 1);
        let plain = large::<A>(Protocol::Udp, 300).with_destination(A::pod(3), 80).fragments(7, 80);
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]] {
            let gone_on = in_order(MemoryDataplane::receive, &dp, &plain, &order);
            assert_eq!(gone_on, built(&plain), "{order:?}");
            dp.advance(31);
        }
        for order in [[3, 2, 1, 0], [0, 1, 2, 3]] {
            let gone_on = in_order(MemoryDataplane::send, &dp, &plain, &order);
            assert_eq!(gone_on, built(&plain), "{order:?}");
        }
        assert_eq!(dp.held.borrow().len(), 0);
    }

    fn what_was_held_for_30_seconds_is_not_put_back_s33<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 1);
        let sent = large::<A>(Protocol::Udp, 300);
        let verdict = send_fragment(&dp, &sent, 1);
        assert_eq!((verdict.action, verdict.reason), HELD);
        dp.advance(31);
        assert_eq!(send_fragment(&dp, &sent, 0).action, Action::Rewrite);
        assert!(dp.put_back.take().is_empty());
    }

    fn what_can_not_be_held_is_dropped_towards_a_vip_and_passes_towards_a_pod_s33<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 1);
        let sent = large::<A>(Protocol::Udp, 9_000).fragments(7, 4_000);
        let verdict = dp.send(&mut sent[1].build());
        assert_eq!((verdict.action, verdict.reason), DROPPED);
        assert_eq!(dp.receive(&mut sent[1].build()).action, Action::Pass);

        let many = large::<A>(Protocol::Udp, 9_000).fragments(8, 80);
        for (i, fragment) in many[1..].iter().enumerate() {
            let verdict = dp.send(&mut fragment.build());
            let expected = if i < usize::from(MOST_HELD) { HELD } else { DROPPED };
            assert_eq!((verdict.action, verdict.reason), expected, "{i}");
        }
        assert_eq!(dp.send(&mut many[0].build()).action, Action::Rewrite);
        assert_eq!(dp.put_back.take().len(), 1 + usize::from(MOST_HELD));
    }

    fn what_is_known_of_one_datagram_serves_no_other_s33<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 3);
        let sent = large::<A>(Protocol::Udp, 300);
        assert_eq!(send_fragment(&dp, &sent, 0).action, Action::Rewrite);
        let others = [
            sent.fragments(8, 80),
            sent.with_source(A::pod(101), 40_000).fragments(7, 80),
        ];
        for other in others {
            let verdict = dp.send(&mut other[1].build());
            assert_eq!((verdict.action, verdict.reason), HELD);
        }
        let elsewhere = sent.with_destination(A::pod(50), 80).fragments(7, 80);
        assert_eq!(dp.send(&mut elsewhere[1].build()).reason, Reason::NotForService);
        // A datagram from the VIP's client as its backend would get it is another direction's.
        assert_eq!(send_fragment(&dp, &sent, 1).reason, Reason::Fragment);
        dp.mark_backend(&A::pod(100));
        assert_eq!(dp.receive(&mut sent.fragments(7, 80)[1].build()).reason, Reason::FragmentHeld);
    }

    fn a_first_fragment_is_forgotten_after_30_seconds_s33<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 3);
        let sent = large::<A>(Protocol::Udp, 300);
        assert_eq!(send_fragment(&dp, &sent, 0).action, Action::Rewrite);
        dp.advance(30);
        assert_eq!(send_fragment(&dp, &sent, 1).reason, Reason::Fragment);
        dp.advance(1);
        let verdict = send_fragment(&dp, &sent, 2);
        assert_eq!((verdict.action, verdict.reason), HELD);
    }

    fn the_fragments_of_a_refused_datagram_are_dropped_whatever_their_order_s30_s33<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Udp, 1);
        retire(&mut dp, Protocol::Udp, ids[0]);
        let sent = large::<A>(Protocol::Udp, 300);
        let verdict = send_fragment(&dp, &sent, 2);
        assert_eq!((verdict.action, verdict.reason), HELD);
        let verdict = send_fragment(&dp, &sent, 0);
        assert_eq!((verdict.action, verdict.reason), (Action::Reject, Reason::NoEndpoint));
        assert!(dp.put_back.take().is_empty());
        let verdict = send_fragment(&dp, &sent, 1);
        assert_eq!((verdict.action, verdict.reason), DROPPED);
    }

    fn the_fragments_of_a_datagram_follow_the_first_where_the_backend_goes_between_them_s33<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Udp, 2);
        let sent = large::<A>(Protocol::Udp, 300);
        let first = send_fragment(&dp, &sent, 0).rewrite.to.address;
        retire(&mut dp, Protocol::Udp, if first == A::pod(1) { ids[0] } else { ids[1] });
        assert_eq!(send_fragment(&dp, &sent, 1).rewrite.to.address, first);
    }

    fn fragments_of_other_protocols_to_a_vip_pass_and_are_counted<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 3);
        let l4 = L4::Other { protocol: 47, payload: vec![0; 300] };
        let sent = Frame::new(A::pod(100), A::vip(10), l4);
        for i in [0, 1, 2] {
            let verdict = send_fragment(&dp, &sent, i);
            assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::UnknownProtocol));
        }
    }

    fn an_sctp_packet_in_fragments_keeps_its_ports_or_is_dropped_s33<A>() {
        let (dp, _) = serving::<A>(Protocol::Sctp, 1);
        let whole = chunk::<A>(40_000, ChunkType::INIT);
        assert_eq!(send(&dp, &whole).reason, Reason::NewFlow);
        let large = large::<A>(Protocol::Sctp, 200);
        let answer = large.with_destination(A::pod(1), 8080).reversed();
        for (process, sent) in [
            (MemoryDataplane::send as Process<A>, &large),
            (MemoryDataplane::receive, &answer),
        ] {
            for (i, fragment) in sent.fragments(7, 80).iter().enumerate() {
                let mut octets = fragment.build();
                let verdict = process(&dp, &mut octets);
                let reason = if i == 0 { Reason::SctpChecksum } else { Reason::FragmentWithoutFirst };
                assert_eq!((verdict.action, verdict.reason), (Action::Drop, reason), "fragment {i}");
                assert_eq!(octets, fragment.build());
            }
        }
        let next = forwarded(&dp, &chunk(40_000, ChunkType::DATA));
        assert_eq!(next, (A::pod(1), Reason::Forward));
    }
}

#[test]
fn ipv6_tells_datagrams_apart_without_the_protocol_and_ipv4_with_it_s33() {
    fn second<A: Family>() -> Reason {
        let (dp, _) = serving::<A>(Protocol::Udp, 1);
        let sent = large::<A>(Protocol::Udp, 300);
        send_fragment(&dp, &sent, 0);
        let mut later = sent.fragments(7, 80).remove(1);
        later.l4 = L4::Other {
            protocol: 6,
            payload: vec![1; 80],
        };
        dp.send(&mut later.build()).reason
    }
    assert_eq!(second::<[u8; 4]>(), Reason::FragmentHeld);
    assert_eq!(second::<[u8; 16]>(), Reason::Fragment);
}
