//! Makes the answer to a refused packet, as a program does it in the kernel, on octets.

use crate::packet::unreachable::{self, Quote};
use crate::packet::{ETHERNET, Octets, Packet, Parse, reset};

/// An address family in which a packet can be refused.
pub trait Refuse: Parse {
    /// The IP and TCP headers of a reset, where that is the answer.
    fn reset(octets: &(impl Octets + ?Sized), refused: &Packet<Self>) -> Option<Vec<u8>>;

    /// The IP and ICMP headers of port unreachable.
    fn unreachable(refused: &Packet<Self>, quote: &Quote) -> Vec<u8>;
}

impl Refuse for [u8; 4] {
    fn reset(_: &(impl Octets + ?Sized), _: &Packet<Self>) -> Option<Vec<u8>> {
        None
    }

    fn unreachable(refused: &Packet<Self>, quote: &Quote) -> Vec<u8> {
        let mut headers = [0; unreachable::IPV4_HEADERS];
        unreachable::ipv4_headers(refused, quote, &mut headers);
        headers.to_vec()
    }
}

impl Refuse for [u8; 16] {
    fn reset(octets: &(impl Octets + ?Sized), refused: &Packet<Self>) -> Option<Vec<u8>> {
        let opening = reset::opening(octets, refused)?;
        let mut headers = [0; reset::HEADERS];
        reset::headers(refused, &opening, &mut headers);
        Some(headers.to_vec())
    }

    fn unreachable(refused: &Packet<Self>, quote: &Quote) -> Vec<u8> {
        let mut headers = [0; unreachable::IPV6_HEADERS];
        unreachable::ipv6_headers(refused, quote, &mut headers);
        headers.to_vec()
    }
}

/// The answer to a frame that holds `packet`, or none where the packet can't be quoted.
pub fn refuse<A: Refuse>(frame: &[u8], packet: &Packet<A>) -> Option<Vec<u8>> {
    let answer = match A::reset(frame, packet) {
        Some(reset) => reset,
        None => {
            let quote = unreachable::quote(frame, packet).ok()?;
            let quoted = &frame[ETHERNET..][..quote.len];
            [A::unreachable(packet, &quote), quoted.to_vec()].concat()
        }
    };
    let [destination, source, ethertype] = [&frame[..6], &frame[6..12], &frame[12..14]];
    Some([source, destination, ethertype, &answer].concat())
}
