//! A pod that reaches itself through the VIP (S-42).

use proptest::prelude::*;

use super::*;
use crate::testing::strategies::{holds, on_both_families};

/// Sends one packet of a pod to itself and lets it answer; each of the four steps is held against a frame built from
/// scratch.
#[track_caller]
fn round_trip<A: Family>(dp: &MemoryDataplane<A>, question: &Frame<A>, answer_flags: u8) {
    let pod = question.ip.source;
    let (client_port, _) = question.l4.ports().unwrap();

    let mut octets = question.build();
    dp.send(&mut octets);
    assert_eq!(octets, question.with_destination(pod, 8080).build(), "out");

    assert_eq!(dp.receive(&mut octets).reason, Reason::Reply);
    let heard = question
        .with_destination(pod, 8080)
        .with_source(question.ip.destination, client_port);
    assert_eq!(octets, heard.build(), "in, as the server hears it");

    let mut answer = heard.reversed();
    if let L4::Tcp { flags, .. } = &mut answer.l4 {
        *flags = answer_flags;
    }
    let mut octets = answer.build();
    assert_eq!(dp.send(&mut octets).reason, Reason::Forward);
    assert_eq!(
        octets,
        answer.with_destination(pod, client_port).build(),
        "the answer, out"
    );

    assert_eq!(dp.receive(&mut octets).reason, Reason::Reply);
    let (vip, port) = (question.ip.destination, question.l4.ports().unwrap().1);
    assert_eq!(
        octets,
        answer
            .with_destination(pod, client_port)
            .with_source(vip, port)
            .build(),
        "the answer, as the client hears it"
    );
}

fn to_itself<A: Family>(l4: L4) -> Frame<A> {
    Frame::new(A::pod(1), A::vip(10), l4)
}

on_both_families! {
    fn a_pod_reaches_itself_through_the_vip_s42<A>() {
        let ports = any::<u16>().prop_filter("another port than the server's", |port| *port != 8080);
        holds((ports, any::<bool>()), |(port, tcp)| {
            let (protocol, l4) = if tcp {
                (Protocol::Tcp, L4::tcp(port, 80, SYN))
            } else {
                (Protocol::Udp, L4::udp(port, 80, b"question"))
            };
            let (dp, _) = serving::<A>(protocol, 1);
            round_trip(&dp, &to_itself(l4), SYN | ACK);
            assert_eq!(dp.flows.entries.borrow().len(), 4);
            assert_no_half_flow(&dp);
        });
    }

    fn a_whole_connection_of_a_pod_with_itself_opens_and_ends_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        for _ in 0..2 {
            round_trip(&dp, &to_itself(L4::tcp(40_000, 80, SYN)), SYN | ACK);
            round_trip(&dp, &to_itself(L4::tcp(40_000, 80, ACK)), ACK);
            round_trip(&dp, &to_itself(L4::tcp(40_000, 80, FIN_ACK)), FIN_ACK);
            let flows = dp.flows.entries.borrow();
            assert_eq!(flows.len(), 4);
            assert!(flows.values().all(|flow| flow.state().is_closed()), "{flows:?}");
        }
    }

    fn the_second_flow_of_a_hairpin_has_the_roles_exchanged_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        send(&dp, &to_itself::<A>(L4::tcp(40_000, 80, SYN)));
        let end = |address, port| Endpoint { address, port: Port::new(port) };
        let flows = dp.flows.entries.borrow();
        let mut seen: Vec<_> = flows
            .values()
            .map(|flow| (flow.client(), flow.frontend(), flow.backend()))
            .collect();
        seen.sort_by_key(|(client, ..)| client.port);
        let pod = A::pod(1);
        let back = (end(pod, 8080), end(A::vip(10), 40_000), end(pod, 40_000));
        let there = (end(pod, 40_000), end(A::vip(10), 80), end(pod, 8080));
        assert_eq!(seen, [back, back, there, there]);
    }

    fn a_hairpin_that_is_selected_anew_leaves_nothing_of_the_old_one_s42<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Udp, 2);
        dp.slots.fill(ids[0]);
        let question = to_itself::<A>(L4::udp(40_000, 80, b"question"));
        round_trip(&dp, &question, 0);
        retire(&mut dp, Protocol::Udp, ids[0]);
        assert_eq!(forwarded(&dp, &question), (A::pod(2), Reason::Reselected));
        assert_eq!(dp.flows.entries.borrow().len(), 2);
        assert_no_half_flow(&dp);
    }

    // Packets between the pod's own ends are of the second flow where its client's port is their source.
    fn a_hairpin_is_forgotten_whole_whichever_of_its_flows_is_found_s42<A>() {
        let there = |flags| Frame::new(A::pod(1), A::pod(1), L4::tcp(40_000, 8080, flags));
        let back = |flags| Frame::new(A::pod(1), A::pod(1), L4::tcp(8080, 40_000, flags));
        for between in [there, back] {
            let (dp, _) = serving::<A>(Protocol::Tcp, 1);
            send(&dp, &to_itself::<A>(L4::tcp(40_000, 80, ACK)));
            assert_eq!(receive(&dp, &between(RST)).reason, Reason::Reply);
            assert_eq!(receive(&dp, &between(SYN | ACK)).reason, Reason::NotForService);
            assert!(dp.flows.entries.borrow().is_empty(), "{:?}", dp.flows.entries.borrow());
        }
    }

    fn a_segment_that_opens_on_the_second_flow_forgets_the_hairpin_whole_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        send(&dp, &to_itself::<A>(L4::tcp(40_000, 80, ACK)));
        let answer = |flags| Frame::new(A::pod(1), A::vip(10), L4::tcp(8080, 40_000, flags));
        assert_eq!(send(&dp, &answer(RST)).reason, Reason::Forward);
        assert_eq!(send(&dp, &answer(SYN)).reason, Reason::UnknownPort);
        assert!(dp.flows.entries.borrow().is_empty(), "{:?}", dp.flows.entries.borrow());
    }

    fn a_second_flow_that_has_to_go_takes_the_first_along_s42<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 1);
        dp.serve(SERVICE + 1, A::vip(11), 80, Protocol::Tcp, &[(A::pod(1), 40_000)]);
        round_trip(&dp, &to_itself::<A>(L4::tcp(40_000, 80, SYN)), SYN | ACK);
        // The same ends of the pod, which the first connection used, the other way round.
        let other = Frame::<A>::new(A::pod(1), A::vip(11), L4::tcp(8080, 80, SYN));
        assert_eq!(forwarded(&dp, &other), (A::pod(1), Reason::SourcePort));
        assert_eq!(dp.flows.entries.borrow().len(), 8);
        send(&dp, &Frame::new(A::pod(1), A::vip(11), L4::tcp(8080, 80, RST)));
        receive(&dp, &Frame::new(A::pod(1), A::pod(1), L4::tcp(40_000, 8080, RST)));
        assert_eq!(forwarded(&dp, &other), (A::pod(1), Reason::NewFlow));
        assert_eq!(dp.flows.entries.borrow().len(), 4);
        assert_no_half_flow(&dp);
    }

    fn a_table_with_room_for_half_a_hairpin_drops_and_keeps_nothing_s42<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 1);
        for capacity in 0..4 {
            dp.flows.capacity = capacity;
            let verdict = send(&dp, &to_itself::<A>(L4::tcp(40_000, 80, SYN)));
            assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::FlowTableFull));
            assert!(dp.flows.entries.borrow().is_empty(), "room for {capacity} entries");
        }
        dp.flows.capacity = 4;
        round_trip(&dp, &to_itself(L4::tcp(40_000, 80, SYN)), SYN | ACK);
    }
}
