//! The parser: no octets make it panic, and what it reads lies inside the packet.

use std::fmt::Debug;

use lb_common::packet::{self, ETHERNET, Packet, Parse, Transport, icmp, unreachable};

/// Octets of a TCP header, of a UDP header, and of an SCTP header with that of its first chunk.
const TCP: usize = 20;
const UDP: usize = 8;
const SCTP: usize = 16;

/// Reads any octets as a frame of either family.
pub fn check(frame: &[u8]) {
    check_family::<[u8; 4]>(frame, 20, (2, 0));
    check_family::<[u8; 16]>(frame, 40, (4, 40));
}

/// `length_at` says where the header has its length, and how much of the header that does not count.
fn check_family<A: Parse + Debug>(frame: &[u8], header: usize, length_at: (usize, usize)) {
    let Ok(packet) = packet::parse::<A>(frame, ETHERNET) else {
        return;
    };
    assert_eq!(packet.l3, ETHERNET);
    assert!(packet.l4 >= ETHERNET + header);
    assert!(frame.len() >= ETHERNET + header);
    let at = ETHERNET + length_at.0;
    let claimed = u16::from_be_bytes([frame[at], frame[at + 1]]) as usize;
    if claimed == 0 {
        assert_eq!(packet.l4_len, 0, "{packet:?}");
    } else {
        let end = ETHERNET + length_at.1 + claimed;
        assert_eq!(packet.l4 + packet.l4_len, end, "{packet:?}");
    }
    let addresses = frame[ETHERNET + A::SOURCE..].chunks_exact(A::OCTETS);
    for (address, octets) in [packet.source, packet.destination].iter().zip(addresses) {
        let mut written = vec![0; A::OCTETS];
        address.write(&mut written[..], 0).expect("there is room");
        assert_eq!(written, octets);
    }
    match packet.transport {
        Transport::Tcp(ports, _) => transport(frame, &packet, TCP, &ports),
        Transport::Udp(ports) => transport(frame, &packet, UDP, &ports),
        Transport::Sctp(ports, _) => transport(frame, &packet, SCTP, &ports),
        Transport::Fragment => assert_ne!(packet.fragment.offset, 0),
        Transport::IcmpError => quoted(frame, &packet),
        Transport::EchoRequest => {
            assert_eq!(frame[packet.l4], A::ECHO_REQUEST);
            assert!(packet.l4 + icmp::HEADER <= frame.len());
        }
        Transport::Other(_) => {}
    }
    if let Ok(quote) = unreachable::quote(frame, &packet) {
        assert!(quote.len <= unreachable::MAX_QUOTED && quote.len.is_multiple_of(4));
        assert!(ETHERNET + quote.len <= frame.len());
    }
    // Padding of the link says nothing. Of an ICMP message that is cut before its type nothing is known.
    if packet.transport != Transport::Other(A::ICMP) {
        let longer = [frame, &[0xff; 8]].concat();
        assert_eq!(packet::parse::<A>(&longer[..], ETHERNET), Ok(packet));
    }
}

/// A header of this length lies inside of the frame, and of the packet by its own account.
fn transport<A: Parse + Debug>(
    frame: &[u8],
    packet: &Packet<A>,
    len: usize,
    ports: &packet::Ports,
) {
    let header = &frame[packet.l4..][..len];
    assert!(packet.l4_len == 0 || packet.l4_len >= len, "{packet:?}");
    assert_eq!(header[..2], ports.source.to_network());
    assert_eq!(header[2..4], ports.destination.to_network());
    assert_eq!(packet.fragment.offset, 0);
}

fn quoted<A: Parse + Debug>(frame: &[u8], error: &Packet<A>) {
    assert!(A::is_error(frame[error.l4]));
    let Some(quoted) = icmp::quoted(frame, error) else {
        return;
    };
    assert_eq!(quoted.l3, error.l4 + icmp::HEADER);
    let end = match error.l4_len {
        0 => frame.len(),
        len => frame.len().min(error.l4 + len),
    };
    // The first eight octets of the transport header, which every protocol has.
    assert!(quoted.l4 + UDP <= end, "{quoted:?} of {error:?}");
    assert!(quoted.l4 + TCP <= icmp::MAX_LOOKED_AT);
    if quoted.has_checksum {
        assert!(quoted.checksum_at() + 2 <= end, "{quoted:?} of {error:?}");
    }
    let ends = [quoted.source, quoted.destination];
    for (port, octets) in ends.iter().zip(frame[quoted.l4..].chunks_exact(2)) {
        assert_eq!(port.port.to_network(), octets);
    }
}
