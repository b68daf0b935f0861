//! The reset of a refused IPv6 connection against one that is made from scratch (S-30).

use super::*;
use crate::packet::{ETHERNET, parse};
use crate::testing::frame::internet_checksum;
use crate::testing::strategies::{holds, whole};
use crate::testing::{Frame, L4, Numbered, Part, refuse};

type V6 = [u8; 16];

fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let packet = parse::<V6>(frame, ETHERNET).ok()?;
    refuse(frame, &packet)
}

/// A frame with other flags, or none if it is no TCP segment.
fn with_flags(mut frame: Frame<V6>, new: u8) -> Option<Frame<V6>> {
    let L4::Tcp { flags, .. } = &mut frame.l4 else {
        return None;
    };
    *flags = new;
    Some(frame)
}

#[test]
fn an_opening_segment_over_ipv6_is_reset_from_the_destination_s30() {
    // ECN's two bits and PSH, URG are nobody's business here.
    for flags in [0x02, 0xc2, 0x0a, 0x22, 0x03] {
        holds(whole::<V6>(), |frame| {
            let Some(frame) = with_flags(frame, flags) else {
                return;
            };
            // One checksum in 65 536 reads as if it were left to the device, and is answered as such.
            if frame.build() != frame.build_with_partial_checksum() {
                assert_eq!(answer(&frame.build()), Some(frame.reset()));
            }
        });
    }
}

#[test]
fn a_segment_that_opens_nothing_is_not_reset() {
    for flags in [0x00, 0x01, 0x04, 0x10, 0x12, 0x06, 0x16, 0x18, 0x11] {
        let frame = Frame::new(V6::pod(5), V6::vip(10), L4::tcp(40_000, 81, flags));
        let octets = frame.build();
        let packet = parse::<V6>(&octets[..], ETHERNET).unwrap();
        assert_eq!(opening(&octets[..], &packet), None, "flags {flags:#04x}");
        assert_eq!(
            answer(&octets),
            Some(frame.port_unreachable()),
            "{flags:#04x}"
        );
    }
}

#[test]
fn a_checksum_left_to_the_device_is_left_to_it_again() {
    holds(whole::<V6>(), |frame| {
        let Some(frame) = with_flags(frame, TcpFlags::SYN) else {
            return;
        };
        let mut answer = answer(&frame.build_with_partial_checksum()).unwrap();
        let segment = answer.len() - transport::TCP;
        let completed = internet_checksum(&answer[segment..]).to_be_bytes();
        answer[segment + 16..][..2].copy_from_slice(&completed);
        assert_eq!(answer, frame.reset());
    });
}

#[test]
fn data_on_the_syn_and_a_fin_are_acknowledged_and_the_number_wraps() {
    let l4 = |flags, payload: &[u8]| L4::Tcp {
        source: 40_000,
        destination: 81,
        flags,
        sequence: u32::MAX - 2,
        options: vec![2, 4, 5, 160, 1, 1, 4, 2],
        payload: payload.to_vec(),
    };
    for (flags, payload, acknowledged) in [
        (0x02, &b""[..], u32::MAX - 1),
        (0x02, b"hello", 3),
        (0x03, b"hello", 4),
    ] {
        let frame = Frame::new(V6::pod(5), V6::vip(10), l4(flags, payload));
        let answer = answer(&frame.build()).unwrap();
        let at = ETHERNET + ipv6::HEADER + 8;
        assert_eq!(answer[at..at + 4], u32::to_be_bytes(acknowledged));
    }
}

#[test]
fn of_a_segment_in_fragments_the_first_is_answered() {
    let mut frame = Frame::new(V6::pod(5), V6::vip(10), L4::tcp(1, 2, TcpFlags::SYN));
    let part = |offset, more| {
        Some(Part {
            identification: 1,
            offset,
            more,
        })
    };
    frame.ip.part = part(0, true);
    assert_eq!(answer(&frame.build()), Some(frame.reset()));
    frame.ip.part = part(8, false);
    assert_eq!(answer(&frame.build()), None);
}
