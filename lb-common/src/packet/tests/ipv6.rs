//! IPv6 headers that lie, and chains of extension headers.

use super::*;
use crate::testing::{Extension, Part, v6};

fn frame(extensions: Vec<Extension>, l4: L4) -> Frame<[u8; 16]> {
    let mut frame = Frame::new(v6("fd00::5"), v6("fd00:10:96::a"), l4);
    frame.ip.extensions = extensions;
    frame
}

fn options() -> Extension {
    Extension::Destination(vec![1, 4, 0, 0, 0, 0])
}

fn udp() -> L4 {
    L4::udp(40_000, 53, b"")
}

#[test]
fn eight_extension_headers_are_followed_and_a_ninth_is_not() {
    let eight = frame(vec![options(); 8], udp());
    assert_eq!(parsed(&eight.build()), Ok(described(&eight)));
    let nine = parsed::<[u8; 16]>(&frame(vec![options(); 9], udp()).build()).unwrap();
    assert_eq!(nine.transport, Transport::Other(60));
}

#[test]
fn a_part_after_eight_extension_headers_is_not_taken_for_a_whole_datagram() {
    let mut frame = frame(vec![options(); 8], udp());
    frame.ip.part = Some(Part {
        identification: 1,
        offset: 0,
        more: true,
    });
    let packet = parsed::<[u8; 16]>(&frame.build()).unwrap();
    assert_eq!(packet.transport, Transport::Other(44));
}

#[test]
fn more_than_512_octets_of_extension_headers_are_malformed() {
    let long = |octets: usize| frame(vec![Extension::Destination(vec![0; octets - 2])], udp());
    assert_eq!(parsed(&long(512).build()), Ok(described(&long(512))));
    assert_eq!(parsed::<[u8; 16]>(&long(520).build()), Err(Malformed));
}

#[test]
fn an_extension_header_that_reaches_beyond_the_payload_is_malformed() {
    let mut octets = frame(vec![options()], udp()).build();
    for units in 2..=u8::MAX {
        octets[ETHERNET + 41] = units;
        assert_eq!(parsed::<[u8; 16]>(&octets), Err(Malformed), "{units}");
    }
}

#[test]
fn an_extension_header_that_reaches_to_the_end_leaves_no_room_for_a_transport_header() {
    let mut octets = frame(vec![options()], udp()).build();
    octets[ETHERNET + 41] = 1;
    assert_eq!(parsed::<[u8; 16]>(&octets), Err(Malformed));
}

#[test]
fn a_payload_length_without_room_for_the_headers_is_malformed() {
    for (l4, room) in [(L4::tcp(1, 2, 0), 20u8), (udp(), 8)] {
        let mut octets = frame(vec![options()], l4).build();
        for len in 1..8 + room {
            octets[ETHERNET + 5] = len;
            assert_eq!(parsed::<[u8; 16]>(&octets), Err(Malformed), "{len}");
        }
        octets[ETHERNET + 5] = 8 + room;
        assert!(parsed::<[u8; 16]>(&octets).is_ok());
    }
}

#[test]
fn a_payload_length_of_zero_says_nothing() {
    let mut octets = frame(vec![options()], udp()).build();
    octets[ETHERNET + 4..][..2].copy_from_slice(&[0, 0]);
    let packet = parsed::<[u8; 16]>(&octets).unwrap();
    assert_eq!(packet.l4_len, 0);
    assert!(matches!(packet.transport, Transport::Udp(_)));
}

#[test]
fn an_atomic_fragment_is_a_whole_datagram() {
    let mut frame = frame(vec![options()], udp());
    frame.ip.part = Some(Part {
        identification: 0xdead_beef,
        offset: 0,
        more: false,
    });
    let packet = parsed(&frame.build());
    assert_eq!(packet, Ok(described(&frame)));
    assert!(matches!(packet.unwrap().transport, Transport::Udp(_)));
}

#[test]
fn what_follows_a_part_is_not_looked_at() {
    let mut frame = frame(
        vec![],
        L4::Other {
            protocol: 60,
            payload: vec![0xff; 8],
        },
    );
    frame.ip.part = Some(Part {
        identification: 1,
        offset: 64,
        more: true,
    });
    assert_eq!(parsed(&frame.build()), Ok(described(&frame)));
}

#[test]
fn an_authentication_header_counts_in_units_of_four_octets() {
    for octets in [6, 10, 14, 22] {
        let frame = frame(vec![Extension::Authentication(vec![0; octets])], udp());
        assert_eq!(parsed(&frame.build()), Ok(described(&frame)));
    }
}

#[test]
fn no_next_header_is_a_protocol_of_its_own() {
    let frame = frame(
        vec![options()],
        L4::Other {
            protocol: 59,
            payload: vec![],
        },
    );
    assert_eq!(parsed(&frame.build()), Ok(described(&frame)));
}
