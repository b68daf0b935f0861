//! Rewritten frames against frames that are built from scratch for the new end.

use proptest::prelude::*;

use super::*;
use crate::addr::Port;
use crate::packet::{ETHERNET, parse};
use crate::testing::strategies::{Family, anything, holds, on_both_families, whole};
use crate::testing::{Frame, Ip, L4, Part};

/// One end of a frame gets this address and port, the other keeps its port.
fn to<A: Family>(frame: &Frame<A>, side: Side, address: A, port: u16) -> Rewrite<A> {
    let (source, destination) = frame.l4.ports().unwrap_or_default();
    let other = match side {
        Side::Source => destination,
        Side::Destination => source,
    };
    both(side, address, port, other)
}

/// As [`to`], and the other end gets another port.
fn both<A>(side: Side, address: A, port: u16, other: u16) -> Rewrite<A> {
    Rewrite {
        side,
        to: Endpoint {
            address,
            port: Port::new(port),
        },
        other_port: Port::new(other),
    }
}

/// The frame that has this address and port at one end, and the other port at the other.
fn with_both<A: Family>(
    frame: &Frame<A>,
    side: Side,
    address: A,
    port: u16,
    other: u16,
) -> Frame<A> {
    let Ip {
        source,
        destination,
        ..
    } = frame.ip;
    match side {
        Side::Source => frame
            .with_source(address, port)
            .with_destination(destination, other),
        Side::Destination => frame
            .with_destination(address, port)
            .with_source(source, other),
    }
}

fn applied<A: Family>(frame: &[u8], rewrite: &Rewrite<A>) -> Vec<u8> {
    let mut octets = frame.to_vec();
    let mut packet = parse::<A>(frame, ETHERNET).expect("a frame that parses");
    apply(&mut octets, &packet, rewrite);
    rewrite.renew(&mut packet);
    assert_eq!(parse(&octets[..], ETHERNET), Ok(packet), "renewed");
    octets
}

fn sides() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Source), Just(Side::Destination)]
}

/// The checksum field of a UDP frame without options.
fn udp_checksum<A: Family>(octets: &[u8]) -> [u8; 2] {
    let at = ETHERNET + if A::OCTETS == 4 { 20 } else { 40 } + 6;
    [octets[at], octets[at + 1]]
}

on_both_families! {
    fn a_rewritten_frame_is_the_one_built_for_the_new_end<A>() {
        holds((whole::<A>(), sides(), any::<A>(), any::<u16>()), |(frame, side, address, port)| {
            let expected = match side {
                Side::Source => frame.with_source(address, port),
                Side::Destination => frame.with_destination(address, port),
            };
            assert_eq!(applied(&frame.build(), &to(&frame, side, address, port)), expected.build());
        });
    }

    fn a_frame_that_gets_two_ports_is_the_one_built_for_them<A>() {
        holds((whole::<A>(), sides(), any::<A>(), any::<[u16; 2]>()), |(frame, side, address, [port, other])| {
            let expected = with_both(&frame, side, address, port, other);
            let there = applied(&frame.build(), &both(side, address, port, other));
            assert_eq!(there, expected.build());
            let (source, destination) = frame.l4.ports().unwrap();
            let back = match side {
                Side::Source => both(side, frame.ip.source, source, destination),
                Side::Destination => both(side, frame.ip.destination, destination, source),
            };
            assert_eq!(applied(&there, &back), frame.build());
        });
    }

    fn there_and_back_restores_every_octet<A>() {
        holds((whole::<A>(), any::<A>(), any::<u16>()), |(frame, address, port)| {
            let there = applied(&frame.build(), &to(&frame, Side::Destination, address, port));
            let (_, old_port) = frame.l4.ports().unwrap();
            let back = applied(&there, &to(&frame, Side::Destination, frame.ip.destination, old_port));
            assert_eq!(back, frame.build());
        });
    }

    fn padding_of_the_link_stays<A>() {
        let frame = Frame::<A>::new(A::pod(1), A::vip(1), L4::udp(7, 80, b"odd"));
        let padded = [frame.build(), vec![0xaa; 9]].concat();
        let expected = [frame.with_destination(A::pod(2), 8080).build(), vec![0xaa; 9]].concat();
        assert_eq!(applied(&padded, &to(&frame, Side::Destination, A::pod(2), 8080)), expected);
    }

    fn a_datagram_without_a_checksum_gets_none<A>() {
        let l4 = L4::Udp { source: 7, destination: 80, checksum: false, payload: vec![1, 2, 3] };
        let frame = Frame::<A>::new(A::pod(1), A::vip(1), l4);
        let octets = applied(&frame.build(), &to(&frame, Side::Destination, A::pod(2), 8080));
        assert_eq!(udp_checksum::<A>(&octets), [0, 0]);
        assert_eq!(octets, frame.with_destination(A::pod(2), 8080).build());
    }

    fn a_computed_zero_is_sent_as_all_ones<A>() {
        // Data that is the checksum of the rest brings the sum to all ones, and the checksum to zero.
        let there = |payload: &[u8]| {
            Frame::<A>::new(A::pod(1), A::pod(2), L4::udp(7, 8080, payload)).build()
        };
        let payload = udp_checksum::<A>(&there(&[0, 0]));
        assert_eq!(udp_checksum::<A>(&there(&payload)), [0xff, 0xff]);

        let frame = Frame::<A>::new(A::pod(1), A::vip(1), L4::udp(7, 80, &payload));
        let octets = applied(&frame.build(), &to(&frame, Side::Destination, A::pod(2), 8080));
        assert_eq!(octets, there(&payload));
        let back = applied(&octets, &to(&frame, Side::Destination, A::vip(1), 80));
        assert_eq!(back, frame.build());
    }

    fn of_a_later_fragment_the_address_is_rewritten_alone<A>() {
        holds((anything::<A>(), sides(), any::<A>(), 1u16..8000), |(mut frame, side, address, units)| {
            let payload = vec![0xa5; 40];
            frame.l4 = L4::Other { protocol: frame.l4.protocol(), payload };
            frame.ip.part = Some(Part { identification: 9, offset: units * 8, more: units % 2 == 0 });
            let expected = match side {
                Side::Source => frame.with_source(address, 0),
                Side::Destination => frame.with_destination(address, 0),
            };
            assert_eq!(applied(&frame.build(), &to(&frame, side, address, 80)), expected.build());
        });
    }

    fn a_crc_that_is_left_to_the_device_is_left_to_it<A>() {
        let frame = Frame::<A>::new(A::pod(1), A::vip(1), L4::sctp(7, 80, 0));
        let checksum_at = ETHERNET + frame.ip_len() + 8;
        let partial = |frame: &Frame<A>| {
            let mut octets = frame.build();
            octets[checksum_at..][..4].fill(0);
            octets
        };
        let octets = applied(&partial(&frame), &to(&frame, Side::Destination, A::pod(2), 8080));
        assert_eq!(octets, partial(&frame.with_destination(A::pod(2), 8080)));
    }

    fn what_is_not_balanced_is_not_touched<A>() {
        holds(anything::<A>(), |mut frame| {
            frame.ip.part = None;
            frame.l4 = L4::Other { protocol: 47, payload: vec![7; 12] };
            assert_eq!(applied(&frame.build(), &to(&frame, Side::Source, A::vip(1), 80)), frame.build());
        });
    }
}
