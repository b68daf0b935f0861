//! IPv4 headers that lie.

use super::*;
use crate::testing::v4;

/// A frame, with the header's claims changed: which octet, to what.
fn claims(l4: L4, changes: &[(usize, u8)]) -> Result<Packet<[u8; 4]>, Malformed> {
    let mut octets = Frame::new(v4("10.244.1.5"), v4("10.96.0.10"), l4).build();
    for (at, octet) in changes {
        octets[ETHERNET + at] = *octet;
    }
    parsed(&octets)
}

fn tcp() -> L4 {
    L4::tcp(40_000, 80, TcpFlags::SYN)
}

fn udp() -> L4 {
    L4::udp(40_000, 53, b"")
}

#[test]
fn a_header_length_below_the_least_is_malformed() {
    for words in 0..5 {
        assert_eq!(claims(tcp(), &[(0, 0x40 | words)]), Err(Malformed));
    }
}

#[test]
fn a_header_length_beyond_the_frame_is_malformed() {
    for words in 6..16 {
        assert_eq!(
            claims(udp(), &[(0, 0x40 | words), (2, 0), (3, 100)]),
            Err(Malformed)
        );
    }
}

#[test]
fn a_total_length_without_room_for_the_headers_is_malformed() {
    for (l4, room) in [(tcp(), 20), (udp(), 8)] {
        for len in 1..20 + room {
            assert_eq!(
                claims(l4.clone(), &[(2, 0), (3, len)]),
                Err(Malformed),
                "{l4:?} in {len} octets"
            );
        }
        assert!(claims(l4, &[(2, 0), (3, 20 + room)]).is_ok());
    }
}

#[test]
fn a_total_length_beyond_the_frame_is_taken_as_it_stands() {
    let packet = claims(udp(), &[(2, 0xff), (3, 0xff)]).unwrap();
    assert_eq!(packet.l4_len, 0xffff - 20);
    assert!(matches!(packet.transport, Transport::Udp(_)));
}

#[test]
fn a_total_length_of_zero_says_nothing() {
    let packet = claims(tcp(), &[(2, 0), (3, 0)]).unwrap();
    assert_eq!(packet.l4_len, 0);
    assert!(matches!(packet.transport, Transport::Tcp(..)));
}

#[test]
fn parts_are_told_by_offset_and_more_whatever_dont_fragment_says() {
    for (field, expected) in [
        (0x0000_u16, (0, false)),
        (0x4000, (0, false)),
        (0x8000, (0, false)),
        (0x2000, (0, true)),
        (0x2001, (8, true)),
        (0x0001, (8, false)),
        (0x1fff, (0xfff8, false)),
        (0x6002, (16, true)),
    ] {
        let [a, b] = field.to_be_bytes();
        let packet = claims(tcp(), &[(6, a), (7, b)]).unwrap();
        let part = packet.fragment;
        assert_eq!((part.offset, part.more), expected, "{field:#06x}");
        let is_later = packet.transport == Transport::Fragment;
        assert_eq!(is_later, part.offset != 0, "{field:#06x}");
    }
}

#[test]
fn a_later_part_needs_no_transport_header() {
    let mut frame = Frame::new(
        v4("10.244.1.5"),
        v4("10.96.0.10"),
        L4::Other {
            protocol: 17,
            payload: vec![1],
        },
    );
    frame.ip.part = Some(crate::testing::Part {
        identification: 7,
        offset: 1480,
        more: false,
    });
    assert_eq!(parsed(&frame.build()), Ok(described(&frame)));
}

#[test]
fn an_authentication_header_is_a_protocol_of_its_own() {
    let packet = claims(tcp(), &[(9, 51)]).unwrap();
    assert_eq!(packet.transport, Transport::Other(51));
}
