//! The answer to a refused packet against one that is made from scratch (S-30).

use super::*;
use crate::packet::sctp::ChunkType;
use crate::packet::{ETHERNET, TcpFlags, parse};
use crate::testing::crc32c::crc32c;
use crate::testing::frame::internet_checksum;
use crate::testing::strategies::{Family, holds, on_both_families, whole};
use crate::testing::{Extension, Frame, L4, Part, refuse};

fn answer<A: Family>(frame: &[u8]) -> Option<Vec<u8>> {
    let packet = parse::<A>(frame, ETHERNET).ok()?;
    refuse(frame, &packet)
}

fn small<A: Family>(l4: L4) -> Frame<A> {
    Frame::new(A::pod(5), A::vip(10), l4)
}

on_both_families! {
    fn the_answer_is_port_unreachable_from_the_destination_s30<A>() {
        holds(whole::<A>(), |frame| {
            if frame.ip_len() + frame.l4.quoted_len() > MAX_QUOTED {
                return;
            }
            // One checksum in 65 536 reads as if it were left to the device, and is answered as such.
            if frame.build() == frame.build_with_partial_checksum() {
                return;
            }
            assert_eq!(answer::<A>(&frame.build()), Some(frame.refusal()));
        });
    }

    fn padding_of_the_link_is_not_quoted<A>() {
        let frame = small::<A>(L4::udp(1, 2, b""));
        let mut octets = frame.build();
        octets.resize(100, 0xff);
        assert_eq!(answer::<A>(&octets), Some(frame.port_unreachable()));
    }

    fn a_checksum_left_to_the_device_counts_as_the_device_will_complete_it<A>() {
        holds(whole::<A>(), |frame| {
            if frame.refusal() != frame.port_unreachable() {
                return;
            }
            let partial = frame.build_with_partial_checksum();
            let checksum_at = match frame.l4 {
                L4::Tcp { .. } => 16,
                L4::Udp { checksum: true, .. } => 6,
                L4::Sctp { .. } => 8,
                _ => return,
            };
            let Some(mut answer) = answer::<A>(&partial) else {
                return;
            };
            // The device sums from the transport header to the end of what is sent, here of what is quoted.
            let transport = answer.len() - frame.l4.quoted_len();
            let quoted = &answer[transport..];
            let completed = match frame.l4 {
                L4::Sctp { .. } => crc32c(quoted).to_le_bytes().to_vec(),
                _ => internet_checksum(quoted).to_be_bytes().to_vec(),
            };
            answer[transport + checksum_at..][..completed.len()].copy_from_slice(&completed);

            let mut refused = partial;
            let at = ETHERNET + frame.ip_len() + checksum_at;
            refused[at..][..completed.len()].copy_from_slice(&completed);
            assert_eq!(answer, frame.port_unreachable_quoting(&refused));
        });
    }

    fn a_datagram_without_a_checksum_is_quoted_without_one<A>() {
        let frame = small::<A>(L4::Udp { source: 1, destination: 2, checksum: false, payload: vec![9; 3] });
        assert_eq!(answer::<A>(&frame.build()), Some(frame.port_unreachable()));
    }

    fn of_a_datagram_in_fragments_the_first_is_answered<A>() {
        let mut first = small::<A>(L4::udp(1, 2, b"12345678"));
        first.ip.part = Some(Part { identification: 1, offset: 0, more: true });
        assert_eq!(answer::<A>(&first.build()), Some(first.port_unreachable()));
        // What would be taken for a checksum that is left to a device is a checksum like any other.
        let partial = first.build_with_partial_checksum();
        assert_eq!(answer::<A>(&partial), Some(first.port_unreachable_quoting(&partial)));
        first.ip.part = Some(Part { identification: 1, offset: 8, more: false });
        assert_eq!(answer::<A>(&first.build()), None);
    }

    fn an_init_is_quoted_up_to_its_tag_without_which_its_sender_ignores_the_answer_s30<A>() {
        let init = small::<A>(L4::sctp(1, 2, ChunkType::INIT));
        let answer = answer::<A>(&init.build()).expect("an answer");
        let quoted = &answer[answer.len() - 20..];
        assert_eq!(quoted, &init.build()[ETHERNET + init.ip_len()..][..20]);
        assert_eq!(quoted[16..], 7u32.to_be_bytes(), "the initiate tag");
    }

    fn a_ping_is_quoted_with_its_own_header_s31<A>() {
        let ping = Frame::echo_request(A::pod(5), A::vip(10), 7, b"data that is not quoted");
        assert_eq!(answer::<A>(&ping.build()), Some(ping.port_unreachable()));
        // Even where its sum is that of the pseudo-header: no sender leaves it to a device.
        let mut octets = ping.build();
        let at = ETHERNET + ping.ip_len() + 2;
        let len = (octets.len() - ETHERNET - ping.ip_len()) as u16;
        let pseudo = checksum::pseudo_header(&ping.ip.source, &ping.ip.destination, len, A::ICMP);
        octets[at..][..2].copy_from_slice(&checksum::fold(pseudo).to_ne_bytes());
        assert_eq!(answer::<A>(&octets), Some(ping.port_unreachable_quoting(&octets)));
    }

    fn other_protocols_are_not_answered<A>() {
        let other = small::<A>(L4::Other { protocol: 47, payload: vec![0; 20] });
        assert_eq!(answer::<A>(&other.build()), None);
    }
}

#[test]
fn ipv4_options_are_quoted() {
    let mut frame = small::<[u8; 4]>(L4::tcp(40_000, 81, TcpFlags::SYN));
    frame.ip.options = vec![7; 40];
    assert_eq!(
        answer::<[u8; 4]>(&frame.build()),
        Some(frame.port_unreachable())
    );
}

#[test]
fn extension_headers_are_quoted_while_there_is_room() {
    let with = |octets: usize| {
        let mut frame = small::<[u8; 16]>(L4::tcp(40_000, 81, TcpFlags::ACK));
        frame.ip.extensions = vec![Extension::Destination(vec![0; octets - 2])];
        frame
    };
    let longest = MAX_QUOTED - 40 - 20;
    let fits = with(longest & !7);
    assert_eq!(
        answer::<[u8; 16]>(&fits.build()),
        Some(fits.port_unreachable())
    );
    assert_eq!(answer::<[u8; 16]>(&with((longest & !7) + 8).build()), None);
}
