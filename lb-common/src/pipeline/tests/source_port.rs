//! One client port through two frontends to one backend, which sees two ports.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::conntrack::{Chosen, Direction};
use crate::packet::sctp::ChunkType;
use crate::testing::Random;
use crate::testing::strategies::{holds, on_both_families};

/// VIPs 10, 11, …, each a service port of its own with the same pods.
fn frontends<A: Family>(protocol: Protocol, vips: u8, pods: u8) -> MemoryDataplane<A> {
    let mut dp = MemoryDataplane::new();
    dp.flows.capacity = usize::MAX;
    for n in 0..vips {
        let id = SERVICE + u32::from(n);
        dp.serve(id, A::vip(10 + n), 80, protocol, &endpoints(pods));
    }
    dp
}

fn l4(protocol: Protocol, port: u16) -> L4 {
    match protocol {
        Protocol::Tcp => L4::tcp(port, 80, SYN),
        Protocol::Udp => L4::udp(port, 80, b"question"),
        Protocol::Sctp => L4::sctp(port, 80, ChunkType::INIT),
    }
}

/// The first packet of a flow from pod 100.
fn to_vip<A: Family>(n: u8, protocol: Protocol, port: u16) -> Frame<A> {
    Frame::new(A::pod(100), A::vip(n), l4(protocol, port))
}

/// Sends a frame that must go to a backend: as the backend gets it, and why.
#[track_caller]
fn led<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>) -> (Frame<A>, Reason) {
    let verdict = send(dp, frame);
    assert_eq!(verdict.action, Action::Rewrite, "{verdict:?}");
    (after(frame, &verdict), verdict.reason)
}

/// As [`led`], of a flow that already goes to pod 1 from the same port through another frontend.
#[track_caller]
fn led_from_another_port<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>) -> Frame<A> {
    let (at_backend, reason) = led(dp, frame);
    assert_eq!(reason, Reason::SourcePort);
    assert_ne!(source_port(&at_backend), source_port(frame));
    assert_eq!(at_backend.ip.source, frame.ip.source, "no address changes");
    at_backend
}

fn source_port<A: Family>(frame: &Frame<A>) -> u16 {
    frame.l4.ports().expect("a frame with ports").0
}

/// The answer to a frame comes from where the client sent it to, at the port that the client sent it from.
#[track_caller]
fn assert_answered<A: Family>(dp: &MemoryDataplane<A>, sent: &Frame<A>, at_backend: &Frame<A>) {
    let mut octets = at_backend.reversed().build();
    assert_eq!(dp.receive(&mut octets).reason, Reason::Reply);
    assert_eq!(octets, sent.reversed().build());
}

/// Half of a flow is forgotten, as a full table does: what is found from one side of a frame's flow.
#[track_caller]
fn forget_half<A: Family>(dp: &MemoryDataplane<A>, sent: &Frame<A>, direction: Direction) {
    let mut entries = dp.flows.entries.borrow_mut();
    let before = entries.len();
    let of_flow = |flow: &Flow<A>| flow.frontend().address == sent.ip.destination;
    entries.retain(|key, flow| !(of_flow(flow) && key.direction() == direction));
    assert_eq!(entries.len(), before - 1);
}

/// Lets a pod speak to itself and answer, each of the four steps held against a frame built from scratch. The port that it sees
/// itself at.
#[track_caller]
fn reaches_itself<A: Family>(dp: &MemoryDataplane<A>, sent: &Frame<A>) -> u16 {
    let (pod, vip) = (sent.ip.source, sent.ip.destination);
    let (between, _) = led(dp, sent);
    let port = source_port(&between);
    assert_eq!(
        between,
        sent.with_destination(pod, 8080).with_source(pod, port)
    );
    let mut octets = between.build();
    assert_eq!(dp.receive(&mut octets).reason, Reason::Reply);
    let heard = between.with_source(vip, port);
    assert_eq!(octets, heard.build(), "in, as the server hears it");

    let accepted = |mut answer: Frame<A>| {
        if let L4::Tcp { flags, .. } = &mut answer.l4 {
            *flags = SYN | ACK;
        }
        answer
    };
    let answer = accepted(heard.reversed());
    let (between, reason) = led(dp, &answer);
    assert_eq!(reason, Reason::Forward);
    assert_eq!(between, answer.with_destination(pod, port));
    let mut octets = between.build();
    assert_eq!(dp.receive(&mut octets).reason, Reason::Reply);
    assert_eq!(
        octets,
        accepted(sent.reversed()).build(),
        "as the client hears it"
    );
    port
}

on_both_families! {
    fn the_only_backend_sees_each_connection_of_one_port_at_a_port_of_its_own<A>() {
        for protocol in Protocol::ALL {
            let dp = frontends::<A>(protocol, 8, 1);
            let sent: Vec<Frame<A>> = (10..18).map(|vip| to_vip(vip, protocol, 40_000)).collect();
            let (first, reason) = led(&dp, &sent[0]);
            assert_eq!((source_port(&first), reason), (40_000, Reason::NewFlow));
            let mut at_backend = vec![first];
            at_backend.extend(sent[1..].iter().map(|frame| led_from_another_port(&dp, frame)));
            let ports: BTreeSet<u16> = at_backend.iter().map(source_port).collect();
            assert_eq!(ports.len(), 8);
            for _ in 0..2 {
                for (sent, at_backend) in sent.iter().zip(&at_backend) {
                    assert_answered(&dp, sent, at_backend);
                    assert_eq!(led(&dp, sent), (at_backend.clone(), Reason::Forward));
                }
            }
            assert_no_half_flow(&dp);
            assert_eq!(dp.flows.entries.borrow().len(), 16);
        }
    }

    fn two_ports_of_one_vip_are_two_frontends<A>() {
        let mut dp = MemoryDataplane::<A>::new();
        dp.serve(1, A::vip(10), 80, Protocol::Tcp, &endpoints(1));
        dp.serve(2, A::vip(10), 443, Protocol::Tcp, &endpoints(1));
        let [web, tls] = [80, 443].map(|port| Frame::new(A::pod(100), A::vip(10), L4::tcp(40_000, port, SYN)));
        let (at_web, _) = led(&dp, &web);
        let at_tls = led_from_another_port(&dp, &tls);
        assert_answered(&dp, &web, &at_web);
        assert_answered(&dp, &tls, &at_tls);
    }

    // As netfilter: below 512, to 1023, above.
    fn a_port_stays_on_its_side_of_512_and_1024<A>() {
        for (side, ports) in [(1..512, [1, 300, 511]), (512..1024, [512, 700, 1023]), (1024..65_535, [1024, 40_000, 65_535])] {
            for port in ports {
                let dp = frontends::<A>(Protocol::Tcp, 40, 1);
                for vip in 10..50 {
                    let (at_backend, _) = led(&dp, &to_vip(vip, Protocol::Tcp, port));
                    let seen = source_port(&at_backend);
                    assert!(side.contains(&seen) || seen == port || seen == 65_535, "{port} became {seen}");
                    assert_eq!(seen < 1024, port < 1024);
                }
            }
        }
    }

    fn where_no_port_is_free_it_drops_and_enters_nothing<A>() {
        let dp = frontends::<A>(Protocol::Tcp, 2, 1);
        for port in 1..512 {
            assert_eq!(led(&dp, &to_vip(10, Protocol::Tcp, port)).1, Reason::NewFlow);
        }
        for port in 1..512 {
            let verdict = send(&dp, &to_vip::<A>(11, Protocol::Tcp, port));
            assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::TupleClash));
        }
        assert_eq!(dp.flows.entries.borrow().len(), 2 * 511);
        assert_no_half_flow(&dp);
        // Above 1023 there are enough.
        for port in 40_000..50_000 {
            led(&dp, &to_vip(10, Protocol::Tcp, port));
            led_from_another_port(&dp, &to_vip(11, Protocol::Tcp, port));
        }
        assert_no_half_flow(&dp);
    }

    fn a_port_that_stands_for_another_is_not_given_twice<A>() {
        for protocol in Protocol::ALL {
            let dp = frontends::<A>(protocol, 2, 1);
            led(&dp, &to_vip(10, protocol, 40_000));
            let stands_in = led_from_another_port(&dp, &to_vip(11, protocol, 40_000));
            // The client uses that port itself: through either frontend.
            let port = source_port(&stands_in);
            for vip in [10, 11] {
                let own = to_vip(vip, protocol, port);
                let at_backend = led_from_another_port(&dp, &own);
                assert_answered(&dp, &own, &at_backend);
            }
            assert_answered(&dp, &to_vip(11, protocol, 40_000), &stands_in);
            assert_no_half_flow(&dp);
        }
    }

    fn a_flow_that_is_selected_anew_has_its_own_port_where_that_is_free_s51<A>() {
        let mut dp = frontends::<A>(Protocol::Udp, 2, 1);
        led(&dp, &to_vip(10, Protocol::Udp, 40_000));
        let question = to_vip(11, Protocol::Udp, 40_000);
        let before = led_from_another_port(&dp, &question);
        dp.serve(SERVICE + 1, A::vip(11), 80, Protocol::Udp, &[(A::pod(2), 8080)]);
        let (now, reason) = led(&dp, &question);
        assert_eq!((now.ip.destination, source_port(&now), reason), (A::pod(2), 40_000, Reason::Reselected));
        assert_answered(&dp, &question, &now);
        assert_eq!(dp.flows.entries.borrow().len(), 4, "nothing is left of {before:?}");
        assert_no_half_flow(&dp);
        // And back, where it is taken.
        dp.serve(SERVICE + 1, A::vip(11), 80, Protocol::Udp, &[(A::pod(1), 8080)]);
        let (now, reason) = led(&dp, &question);
        assert_eq!((now, reason), (before.clone(), Reason::Reselected));
        assert_answered(&dp, &question, &before);
        assert_no_half_flow(&dp);
    }

    fn a_syn_that_comes_again_keeps_the_port_at_the_only_backend<A>() {
        let dp = frontends::<A>(Protocol::Tcp, 2, 1);
        led(&dp, &to_vip(10, Protocol::Tcp, 40_000));
        let second = to_vip(11, Protocol::Tcp, 40_000);
        let at_backend = led_from_another_port(&dp, &second);
        for _ in 0..3 {
            dp.advance(1);
            assert_eq!(led(&dp, &second), (at_backend.clone(), Reason::Forward));
        }
        assert_no_half_flow(&dp);
        assert_eq!(dp.flows.entries.borrow().len(), 4);
    }

    fn a_syn_that_fails_over_leaves_the_port_behind<A>() {
        let mut dp = frontends::<A>(Protocol::Tcp, 2, 1);
        answered(&dp, &to_vip(10, Protocol::Tcp, 40_000), SYN | ACK);
        let second = to_vip(11, Protocol::Tcp, 40_000);
        led_from_another_port(&dp, &second);
        let ids = dp.serve(SERVICE + 1, A::vip(11), 80, Protocol::Tcp, &endpoints(2));
        // Its backend is one that did not answer, not one that is gone.
        let row = dp.backends[&ids[0]];
        let mut flows = dp.flows.entries.borrow_mut();
        for flow in flows.values_mut().filter(|flow| flow.frontend().address == A::vip(11)) {
            let port = flow.source_port();
            flow.give_to(&Chosen { id: ids[0], epoch: row.epoch(), service_id: SERVICE + 1, endpoint: row.endpoint() });
            flow.set_source_port(port);
        }
        drop(flows);
        dp.advance(1);
        let (at_backend, reason) = led(&dp, &second);
        assert_eq!((at_backend.ip.destination, source_port(&at_backend), reason), (A::pod(2), 40_000, Reason::Failover));
        assert_answered(&dp, &second, &at_backend);
        assert_eq!(dp.flows.entries.borrow().len(), 4);
        assert_no_half_flow(&dp);
    }

    fn a_port_that_is_used_again_leaves_nothing_of_the_connection_that_is_over<A>() {
        let dp = frontends::<A>(Protocol::Tcp, 2, 1);
        let [first, second] = [10, 11].map(|vip| to_vip(vip, Protocol::Tcp, 40_000));
        answered(&dp, &first, SYN | ACK);
        let at_backend = led_from_another_port(&dp, &second);
        answered(&dp, &second, RST | ACK);
        // The first one still is there.
        assert_eq!(led_from_another_port(&dp, &second), at_backend);
        answered(&dp, &second, RST | ACK);
        answered(&dp, &first, RST | ACK);
        assert_eq!(led(&dp, &second).1, Reason::NewFlow);
        assert_eq!(dp.flows.entries.borrow().len(), 2, "the first one was displaced");
        assert_no_half_flow(&dp);
    }

    fn a_connection_that_is_over_leaves_the_port_that_stood_for_its_own<A>() {
        let dp = frontends::<A>(Protocol::Tcp, 2, 1);
        led(&dp, &to_vip(10, Protocol::Tcp, 40_000));
        let second = to_vip(11, Protocol::Tcp, 40_000);
        let at_backend = led_from_another_port(&dp, &second);
        let own = to_vip(10, Protocol::Tcp, source_port(&at_backend));
        answered(&dp, &second, RST | ACK);
        assert_eq!(led(&dp, &own).1, Reason::NewFlow);
        assert_answered(&dp, &own, &own.with_destination(A::pod(1), 8080));
        assert_eq!(dp.flows.entries.borrow().len(), 4, "the second one was displaced");
        assert_no_half_flow(&dp);
    }

    fn all_of_a_datagram_in_fragments_reaches_the_backend_from_one_port_and_back_s33<A>() {
        let dp = frontends::<A>(Protocol::Udp, 2, 1);
        led(&dp, &to_vip(10, Protocol::Udp, 40_000));
        let question = Frame::<A>::new(A::pod(100), A::vip(11), L4::udp(40_000, 80, &[7; 3_000]));
        let mut first = question.fragments(7, 1_000)[0].build();
        assert_eq!(dp.send(&mut first).reason, Reason::SourcePort);
        let port = u16::from_be_bytes([first[first.len() - 1_000], first[first.len() - 999]]);
        assert_ne!(port, 40_000);
        let at_backend = question.with_destination(A::pod(1), 8080).with_source(A::pod(100), port);
        for (id, (sent, expected)) in [(7, (&question, &at_backend)), (8, (&question, &at_backend))] {
            for (fragment, expected) in sent.fragments(id, 1_000).iter().zip(expected.fragments(id, 1_000)) {
                let mut octets = fragment.build();
                dp.send(&mut octets);
                assert_eq!(octets, expected.build());
            }
        }
        for (fragment, expected) in at_backend.reversed().fragments(9, 1_000).iter().zip(question.reversed().fragments(9, 1_000)) {
            let mut octets = fragment.build();
            dp.receive(&mut octets);
            assert_eq!(octets, expected.build());
        }
    }

    fn a_datagram_without_a_checksum_gets_none<A>() {
        let dp = frontends::<A>(Protocol::Udp, 2, 1);
        led(&dp, &to_vip(10, Protocol::Udp, 40_000));
        let l4 = L4::Udp { source: 40_000, destination: 80, checksum: false, payload: vec![1, 2, 3] };
        let question = Frame::new(A::pod(100), A::vip(11), l4);
        let at_backend = led_from_another_port(&dp, &question);
        assert_answered(&dp, &question, &at_backend);
    }

    fn an_error_is_translated_with_the_ports_that_it_quotes_s32<A>() {
        let kind = if A::OCTETS == 4 { [3, 3] } else { [1, 4] };
        for protocol in Protocol::ALL {
            let dp = frontends::<A>(protocol, 2, 1);
            led(&dp, &to_vip(10, protocol, 40_000));
            let sent = to_vip(11, protocol, 40_000);
            let at_backend = led_from_another_port(&dp, &sent);
            for len in [sent.ip_len() + 8, 200] {
                for (by, from) in [(A::pod(200), A::pod(200)), (A::pod(1), A::vip(11))] {
                    let mut octets = at_backend.icmp_error(by, kind, len).build();
                    assert_eq!(dp.receive(&mut octets).reason, Reason::IcmpError);
                    assert_eq!(octets, sent.icmp_error(from, kind, len).build());
                }
                let mut octets = sent.reversed().icmp_error(A::pod(100), kind, len).build();
                assert_eq!(dp.send(&mut octets).reason, Reason::IcmpError);
                assert_eq!(octets, at_backend.reversed().icmp_error(A::pod(100), kind, len).build());
            }
        }
    }

    fn an_entry_that_was_forgotten_on_one_side_comes_back_with_the_same_port<A>() {
        for protocol in Protocol::ALL {
            let dp = frontends::<A>(protocol, 2, 1);
            led(&dp, &to_vip(10, protocol, 40_000));
            let sent = to_vip(11, protocol, 40_000);
            let at_backend = led_from_another_port(&dp, &sent);
            assert_answered(&dp, &sent, &at_backend);
            for direction in [Direction::FromBackend, Direction::FromClient] {
                forget_half(&dp, &sent, direction);
                dp.advance(1);
                assert_eq!(led(&dp, &sent).0, at_backend);
                assert_answered(&dp, &sent, &at_backend);
                assert_no_half_flow(&dp);
            }
        }
    }

    // Which other port it had depends on nothing but its client and frontend. Where its own has become free, nobody knows that it had another.
    fn a_connection_that_was_forgotten_has_the_same_port_while_its_own_is_taken<A>() {
        let dp = frontends::<A>(Protocol::Tcp, 2, 1);
        answered(&dp, &to_vip(10, Protocol::Tcp, 40_000), SYN | ACK);
        let sent = to_vip(11, Protocol::Tcp, 40_000);
        let at_backend = led_from_another_port(&dp, &sent);
        let push = Frame::<A>::new(A::pod(100), A::vip(11), L4::tcp(40_000, 80, ACK));
        for direction in [Direction::FromClient, Direction::FromBackend] {
            forget_half(&dp, &sent, direction);
        }
        assert_eq!(source_port(&led(&dp, &push).0), source_port(&at_backend));
        dp.flows.entries.borrow_mut().clear();
        assert_eq!(source_port(&led(&dp, &push).0), 40_000);
    }

    fn a_pod_reaches_itself_from_a_port_that_already_speaks_to_it_s42<A>() {
        for protocol in Protocol::ALL {
            let dp = frontends::<A>(protocol, 2, 1);
            let sent = |vip| Frame::<A>::new(A::pod(1), A::vip(vip), l4(protocol, 40_000));
            let own = reaches_itself(&dp, &sent(10));
            let other = reaches_itself(&dp, &sent(11));
            assert_eq!(own, 40_000);
            assert_ne!(other, 40_000);
            assert_eq!(reaches_itself(&dp, &sent(10)), own);
            assert_eq!(reaches_itself(&dp, &sent(11)), other);
            assert_eq!(dp.flows.entries.borrow().len(), 8);
            assert_no_half_flow(&dp);
        }
    }

    // A pod that binds the port which it serves, and connects to its own Service from there.
    fn a_pod_reaches_itself_from_the_port_that_it_serves_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        let own = Frame::new(A::pod(1), A::vip(10), L4::tcp(8080, 80, SYN));
        assert_ne!(reaches_itself(&dp, &own), 8080);
        assert_eq!(dp.flows.entries.borrow().len(), 4);
        assert_no_half_flow(&dp);
        // Another backend will do without.
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        assert_ne!(forwarded(&dp, &own), (A::pod(1), Reason::NewFlow));
        assert_no_half_flow(&dp);
    }

    // The second flow of the pod would be found by what it sends to that backend.
    fn a_pod_that_speaks_from_its_own_port_reaches_itself_from_the_port_it_speaks_to_s42<A>() {
        let mut dp = MemoryDataplane::new();
        dp.serve(1, A::vip(10), 40_000, Protocol::Tcp, &[(A::pod(2), 9_000)]);
        dp.serve(2, A::vip(10), 80, Protocol::Tcp, &[(A::pod(1), 8_080)]);
        let elsewhere = Frame::new(A::pod(1), A::vip(10), L4::tcp(8_080, 40_000, SYN));
        forwarded(&dp, &elsewhere);
        let to_itself = Frame::new(A::pod(1), A::vip(10), L4::tcp(40_000, 80, SYN));
        assert_ne!(reaches_itself(&dp, &to_itself), 40_000);
        assert_eq!(forwarded(&dp, &elsewhere), (A::pod(2), Reason::Forward));
        assert_no_half_flow(&dp);
    }

    fn a_hairpin_with_another_port_is_forgotten_whole_s42<A>() {
        let dp = frontends::<A>(Protocol::Udp, 2, 1);
        let sent = |vip| Frame::<A>::new(A::pod(1), A::vip(vip), l4(Protocol::Udp, 40_000));
        reaches_itself(&dp, &sent(10));
        let port = reaches_itself(&dp, &sent(11));
        dp.advance(121);
        // What the pod says to itself, of which either flow is found first.
        let there = Frame::<A>::new(A::pod(1), A::pod(1), L4::udp(port, 8080, b"late"));
        assert_eq!(receive(&dp, &there).reason, Reason::NotForService);
        assert_eq!(dp.flows.entries.borrow().len(), 4);
        assert_no_half_flow(&dp);
        reaches_itself(&dp, &sent(11));
        dp.advance(121);
        assert_eq!(receive(&dp, &there.reversed()).reason, Reason::NotForService);
        assert_no_half_flow(&dp);
    }

    fn every_tuple_at_a_backend_is_of_one_flow_and_every_answer_comes_back<A>() {
        holds((any::<u32>(), 1u8..4, 1u8..4), |(seed, vips, pods)| {
            let mut random = Random::new(u64::from(seed));
            let protocol = random.pick(&Protocol::ALL);
            let dp = frontends::<A>(protocol, vips, pods);
            let mut flows: HashMap<Vec<u8>, (Frame<A>, Frame<A>)> = HashMap::new();
            // Ports that stood for others are used by clients as well.
            let mut ports = vec![300, 301, 1_000, 40_000, 40_001, 65_535];
            for _ in 0..120 {
                let client = A::pod(random.pick(&[1, 100, 101]));
                let port = random.pick(&ports);
                let sent = Frame::new(client, A::vip(10 + random.below(usize::from(vips)) as u8), l4(protocol, port));
                let verdict = send(&dp, &sent);
                assert_eq!(verdict.action, Action::Rewrite, "{verdict:?}");
                let at_backend = after(&sent, &verdict);
                ports.push(source_port(&at_backend));
                let (_, owner) = flows.entry(at_backend.build()).or_insert((at_backend, sent.clone()));
                assert_eq!(*owner, sent, "the same to the backend");
            }
            assert_no_half_flow(&dp);
            for (at_backend, sent) in flows.values() {
                if at_backend.ip.source == at_backend.ip.destination {
                    assert_eq!(reaches_itself(&dp, sent), source_port(at_backend));
                } else {
                    assert_answered(&dp, sent, at_backend);
                }
            }
        });
    }
}
