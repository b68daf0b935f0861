//! Which packets go straight into a pod, over tables; and what a hop changes, over random ones.

use std::collections::HashMap;
use std::hash::Hash;

use proptest::prelude::*;

use crate::packet::{self, ETHERNET, Parse, TcpFlags};
use crate::pipeline::deliver::{Arrival, Delivery, Pods, Way, from_pod, from_uplink, hop};
use crate::reason::Reason;
use crate::redirect::{LocalPod, RemotePods};
use crate::testing::{Extension, Frame, L4, Numbered};

const DEVICE: u32 = 5;
const OTHER_DEVICE: u32 = 6;
const UPLINK: u32 = 2;
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 5];
const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 6];
const NODE: [u8; 6] = [0xee; 6];

struct Known<A> {
    local: HashMap<A, LocalPod>,
    remote: HashMap<A, RemotePods<A>>,
}

impl<A: Parse + Hash> Pods for Known<A> {
    type Address = A;

    fn local_pod(&self, address: &A) -> Option<LocalPod> {
        self.local.get(address).copied()
    }

    fn remote_pods(&self, address: &A) -> Option<RemotePods<A>> {
        self.remote.get(address).copied()
    }
}

/// Pods 1 and 2 behind devices of their own, pod 3 behind the first one's; pod 20 on another node.
fn pods<A: Parse + Hash + Numbered>() -> Known<A> {
    Known {
        local: HashMap::from([
            (A::pod(1), LocalPod::new(DEVICE, SENDER, NODE)),
            (A::pod(2), LocalPod::new(OTHER_DEVICE, RECEIVER, NODE)),
            (A::pod(3), LocalPod::new(DEVICE, SENDER, NODE)),
        ]),
        remote: HashMap::from([(A::pod(20), RemotePods::new(UPLINK, A::pod(200)))]),
    }
}

fn to_node(is_for_device: bool) -> Arrival {
    Arrival {
        ifindex: DEVICE,
        destination: NODE,
        is_for_device,
        hop_limit: 64,
    }
}

/// By the uplink comes what has its ifindex.
fn decide<A: Parse + Hash + Numbered>(frame: &Frame<A>, arrival: &Arrival) -> Delivery<A> {
    let packet = packet::parse::<A>(&frame.build()[..], ETHERNET).unwrap();
    match arrival.ifindex {
        UPLINK => from_uplink(&pods(), &packet, arrival),
        _ => from_pod(&pods(), &packet, arrival),
    }
}

fn frame<A: Parse + Numbered>(from: u8, to: u8) -> Frame<A> {
    Frame::new(A::pod(from), A::pod(to), L4::tcp(40_000, 80, TcpFlags::ACK))
}

#[track_caller]
fn check<A: Parse + Hash + Numbered>(frame: &Frame<A>, arrival: Arrival, way: Way, reason: Reason) {
    let delivery = decide(frame, &arrival);
    assert_eq!(
        (delivery.way, delivery.reason),
        (way, reason),
        "{arrival:?}"
    );
}

fn a_pod_is_reached_by_routing_or_by_bridging<A: Parse + Hash + Numbered>() {
    let frame = frame::<A>(1, 2);
    let pod = LocalPod::new(OTHER_DEVICE, RECEIVER, NODE);
    assert_eq!(decide(&frame, &to_node(true)).pod, pod);
    check(&frame, to_node(true), Way::Routed, Reason::Delivered);
    // By a bridge, whose address is not the device's.
    check(&frame, to_node(false), Way::Routed, Reason::Delivered);
    for hop_limit in [64, 1, 0] {
        let to_pod = Arrival {
            destination: RECEIVER,
            is_for_device: false,
            hop_limit,
            ..to_node(false)
        };
        check(&frame, to_pod, Way::Bridged, Reason::Delivered);
    }
}

fn what_the_stack_must_see_goes_there<A: Parse + Hash + Numbered>() {
    let stack = Way::Stack;
    check(
        &frame::<A>(1, 9),
        to_node(true),
        stack,
        Reason::NotForService,
    );
    check(
        &frame::<A>(1, 1),
        to_node(true),
        stack,
        Reason::StackHairpin,
    );
    check(
        &frame::<A>(1, 3),
        to_node(true),
        stack,
        Reason::StackHairpin,
    );
    for spoofed in [2, 9] {
        check(
            &frame::<A>(spoofed, 2),
            to_node(true),
            stack,
            Reason::StackSource,
        );
    }
    let to_another = Arrival {
        destination: [7; 6],
        ..to_node(false)
    };
    check(&frame::<A>(1, 2), to_another, stack, Reason::StackLink);
    for hop_limit in [0, 1] {
        let last = Arrival {
            hop_limit,
            ..to_node(true)
        };
        check(&frame::<A>(1, 2), last, stack, Reason::StackHopLimit);
    }
    let options = with_options::<A>(1, 2);
    check(&options, to_node(true), stack, Reason::StackHeaders);
    let error = frame::<A>(2, 1).icmp_error(A::pod(1), [3, 0], 28);
    check(&error, to_node(true), stack, Reason::StackHeaders);
}

fn with_options<A: Parse + Numbered>(from: u8, to: u8) -> Frame<A> {
    let mut frame = frame::<A>(from, to);
    if A::OCTETS == 4 {
        frame.ip.options = vec![1; 4];
    } else {
        frame.ip.extensions = vec![Extension::Destination(vec![1, 4, 0, 0, 0, 0])];
    }
    frame
}

fn a_pod_of_another_node_is_reached_by_the_uplink<A: Parse + Hash + Numbered>() {
    let out = frame::<A>(1, 20);
    let delivery = decide(&out, &to_node(true));
    assert!(delivery.out == RemotePods::new(UPLINK, A::pod(200)));
    check(&out, to_node(true), Way::Out, Reason::Sent);
    // By a bridge, whose address is not the device's.
    check(&out, to_node(false), Way::Out, Reason::Sent);

    let stack = Way::Stack;
    check(
        &frame::<A>(2, 20),
        to_node(true),
        stack,
        Reason::StackSource,
    );
    check(
        &frame::<A>(9, 20),
        to_node(true),
        stack,
        Reason::StackSource,
    );
    let to_another = Arrival {
        destination: [7; 6],
        ..to_node(false)
    };
    check(&out, to_another, stack, Reason::StackLink);
    let last = Arrival {
        hop_limit: 1,
        ..to_node(true)
    };
    check(&out, last, stack, Reason::StackHopLimit);
    let options = with_options::<A>(1, 20);
    check(&options, to_node(true), stack, Reason::StackHeaders);
}

fn what_comes_from_another_node_reaches_its_pod<A: Parse + Hash + Numbered>() {
    let uplink = Arrival {
        ifindex: UPLINK,
        ..to_node(true)
    };
    let inward = frame::<A>(20, 2);
    let pod = LocalPod::new(OTHER_DEVICE, RECEIVER, NODE);
    assert_eq!(decide(&inward, &uplink).pod, pod);
    check(&inward, uplink, Way::Routed, Reason::Delivered);

    let stack = Way::Stack;
    check(&frame::<A>(20, 9), uplink, stack, Reason::NotForService);
    // From the outside; from a pod that is here; by another way than the one back.
    check(&frame::<A>(30, 2), uplink, stack, Reason::StackOutside);
    check(&frame::<A>(1, 2), uplink, stack, Reason::StackOutside);
    for destination in [NODE, RECEIVER, [0; 6]] {
        let overheard = Arrival {
            destination,
            is_for_device: false,
            ..uplink
        };
        check(&inward, overheard, stack, Reason::StackLink);
    }
    let last = Arrival {
        hop_limit: 1,
        ..uplink
    };
    check(&inward, last, stack, Reason::StackHopLimit);
    let options = with_options::<A>(20, 2);
    check(&options, uplink, stack, Reason::StackHeaders);
    let error = frame::<A>(2, 20).icmp_error(A::pod(20), [3, 0], 28);
    check(&error, uplink, stack, Reason::StackHeaders);
}

#[test]
fn packets_of_ipv4() {
    a_pod_of_another_node_is_reached_by_the_uplink::<[u8; 4]>();
    what_comes_from_another_node_reaches_its_pod::<[u8; 4]>();
    a_pod_is_reached_by_routing_or_by_bridging::<[u8; 4]>();
    what_the_stack_must_see_goes_there::<[u8; 4]>();
}

#[test]
fn packets_of_ipv6() {
    a_pod_of_another_node_is_reached_by_the_uplink::<[u8; 16]>();
    what_comes_from_another_node_reaches_its_pod::<[u8; 16]>();
    a_pod_is_reached_by_routing_or_by_bridging::<[u8; 16]>();
    what_the_stack_must_see_goes_there::<[u8; 16]>();
}

fn a_hop_further<A: Parse + Numbered>(ttl: u8, pod: u8, payload: &[u8]) {
    let mut frame = Frame::<A>::new(A::pod(pod), A::pod(2), L4::udp(40_000, 53, payload));
    frame.ip.ttl = ttl;
    let mut octets = frame.build();
    let edits = hop::<A>(&octets[..]).unwrap();
    octets[edits.at..edits.at + 2].copy_from_slice(&edits.word);
    if let (at @ 1.., checksum) = edits.checksum {
        octets[at..at + 2].copy_from_slice(&checksum);
    }
    frame.ip.ttl -= 1;
    assert_eq!(octets, frame.build());
    assert_eq!(hop::<A>(&octets[..ETHERNET + A::HOP_LIMIT]), None);
}

proptest! {
    #[test]
    fn a_hop_takes_one_from_the_limit_and_keeps_the_checksum_true(
        ttl in 1_u8..,
        pod: u8,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        a_hop_further::<[u8; 4]>(ttl, pod, &payload);
        a_hop_further::<[u8; 16]>(ttl, pod, &payload);
    }
}
