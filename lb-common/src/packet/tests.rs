//! The parser against the builder, and against octets that nobody built.

mod ipv4;
mod ipv6;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::testing::strategies::{Family, anything, holds, on_both_families};
use crate::testing::{Frame, L4};

/// What the parser should say of a frame that the builder makes.
fn described<A: Family>(frame: &Frame<A>) -> Packet<A> {
    let l4 = ETHERNET + frame.ip_len();
    // A part at offset 0 after which none follows is a whole datagram (RFC 6946).
    let part = frame.ip.part.filter(|part| part.offset != 0 || part.more);
    let ports = |(source, destination)| Ports {
        source: Port::new(source),
        destination: Port::new(destination),
    };
    let fragment = part.map_or(Fragment::WHOLE, |part| Fragment {
        identification: if A::OCTETS == 4 {
            part.identification & 0xffff
        } else {
            part.identification
        },
        offset: part.offset,
        more: part.more,
        protocol: frame.l4.protocol(),
    });
    let transport = match (&frame.l4, frame.l4.ports()) {
        _ if fragment.offset != 0 => Transport::Fragment,
        (L4::Tcp { flags, .. }, Some(both)) => Transport::Tcp(ports(both), TcpFlags::new(*flags)),
        (L4::Udp { .. }, Some(both)) => Transport::Udp(ports(both)),
        (L4::Sctp { chunk, .. }, Some(both)) => {
            Transport::Sctp(ports(both), sctp::ChunkType(*chunk).as_tcp())
        }
        (L4::Other { protocol, payload }, _)
            if *protocol == A::ICMP && payload.len() >= 8 && A::is_error(payload[0]) =>
        {
            Transport::IcmpError
        }
        (L4::Other { protocol, payload }, _)
            if *protocol == A::ICMP && payload.len() >= 8 && payload[0] == A::ECHO_REQUEST =>
        {
            Transport::EchoRequest
        }
        (l4, _) => Transport::Other(l4.protocol()),
    };
    Packet {
        l3: ETHERNET,
        l4,
        l4_len: frame.build().len() - l4,
        source: frame.ip.source,
        destination: frame.ip.destination,
        fragment,
        transport,
    }
}

/// What the parser says; a plain segment is read the same by itself.
fn parsed<A: Family>(octets: &[u8]) -> Result<Packet<A>, Malformed> {
    let packet = parse::<A>(octets, ETHERNET);
    if let Some(plain) = plain_tcp::<A>(octets, ETHERNET) {
        assert_eq!(packet, Ok(plain));
    }
    packet
}

/// Reads octets of which nothing is known. A packet that parses has a whole transport header: rewriting relies on it.
fn check_any_octets<A: Family>(octets: &[u8]) {
    if let Ok(packet) = parsed::<A>(octets) {
        let header = match packet.transport {
            Transport::Tcp(..) => 20,
            Transport::Udp(_) | Transport::EchoRequest => 8,
            Transport::Sctp(..) => 16,
            Transport::Fragment | Transport::IcmpError | Transport::Other(_) => return,
        };
        assert!(packet.l4 + header <= octets.len(), "{packet:?}");
    }
}

on_both_families! {
    fn a_frame_reads_as_it_was_built<A>() {
        holds(anything::<A>(), |frame| {
            assert_eq!(parsed(&frame.build()), Ok(described(&frame)));
        });
    }

    fn padding_of_the_link_is_not_part_of_the_packet<A>() {
        holds((anything::<A>(), vec(any::<u8>(), 1..64)), |(frame, padding)| {
            let octets = [frame.build(), padding].concat();
            assert_eq!(parsed(&octets), Ok(described(&frame)));
        });
    }

    fn a_frame_that_is_cut_is_malformed_or_reads_as_the_whole_one<A>() {
        holds(anything::<A>(), |frame| {
            let octets = frame.build();
            for len in 0..octets.len() {
                let read = parsed(&octets[..len]);
                assert!(
                    read == Err(Malformed) || read == Ok(described(&frame)),
                    "after {len} octets: {read:?}"
                );
                check_any_octets::<A>(&octets[..len]);
            }
        });
    }

    fn arbitrary_octets_parse_or_are_malformed<A>() {
        holds(vec(any::<u8>(), 0..200), |mut octets| {
            check_any_octets::<A>(&octets);
            // The right version takes the parser further.
            if octets.len() > ETHERNET {
                let version = if A::OCTETS == 4 { 0x40 } else { 0x60 };
                octets[ETHERNET] = version | (octets[ETHERNET] & 0xf);
                check_any_octets::<A>(&octets);
            }
        });
    }

    fn changed_octets_parse_or_are_malformed<A>() {
        let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
        holds((anything::<A>(), changes), |(frame, changes)| {
            let mut octets = frame.build();
            for (at, octet) in changes {
                let at = ETHERNET + at.index(octets.len() - ETHERNET);
                octets[at] = octet;
                check_any_octets::<A>(&octets);
            }
        });
    }

    fn a_whole_segment_without_options_is_plain<A>() {
        holds(anything::<A>(), |frame| {
            let described = described(&frame);
            let is_plain = matches!(described.transport, Transport::Tcp(..))
                && described.fragment == Fragment::WHOLE
                && described.l4 == ETHERNET + A::HEADER;
            let plain = plain_tcp(&*frame.build(), ETHERNET);
            assert_eq!(plain, is_plain.then_some(described));
        });
    }

    fn another_version_is_malformed<A>() {
        let mut octets = Frame::<A>::new(A::pod(1), A::pod(2), L4::udp(1, 2, b"")).build();
        for version in (0..16u8).filter(|v| *v != if A::OCTETS == 4 { 4 } else { 6 }) {
            octets[ETHERNET] = version << 4 | (octets[ETHERNET] & 0xf);
            assert_eq!(parsed::<A>(&octets), Err(Malformed), "version {version}");
        }
    }

    fn a_tcp_header_that_claims_less_than_itself_is_malformed<A>() {
        let frame = Frame::<A>::new(A::pod(1), A::pod(2), L4::tcp(1, 2, TcpFlags::SYN));
        let mut octets = frame.build();
        for words in 0..16u8 {
            octets[ETHERNET + frame.ip_len() + 12] = words << 4;
            let expected = if words < 5 { Err(Malformed) } else { Ok(described(&frame)) };
            assert_eq!(parsed(&octets), expected, "data offset {words}");
        }
    }
}

#[test]
fn a_syn_without_reset_opens_a_connection_or_accepts_it_with_ack() {
    for flags in 0..=u8::MAX {
        let [fin, syn, rst, ack] =
            [TcpFlags::FIN, TcpFlags::SYN, TcpFlags::RST, TcpFlags::ACK].map(|f| flags & f != 0);
        let read = TcpFlags::new(flags);
        assert_eq!(read.opens(), syn && !ack && !rst, "{flags:#x}");
        assert_eq!(read.accepts(), syn && ack && !rst, "{flags:#x}");
        assert_eq!((read.fin(), read.rst()), (fin, rst), "{flags:#x}");
    }
}

#[test]
fn an_sctp_chunk_means_what_a_tcp_segment_of_the_same_purpose_does() {
    for chunk in 0..=u8::MAX {
        let expected = match chunk {
            1 => TcpFlags::SYN,
            2 => TcpFlags::SYN | TcpFlags::ACK,
            7 | 8 => TcpFlags::FIN | TcpFlags::ACK,
            6 | 14 => TcpFlags::RST,
            _ => TcpFlags::ACK,
        };
        let read = sctp::ChunkType(chunk).as_tcp();
        assert_eq!(read, TcpFlags::new(expected), "{chunk}");
    }
}
