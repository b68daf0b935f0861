//! Makes the answer to a refused packet, as a program does it in the kernel, on octets.

use crate::packet::unreachable::{self, Quote};
use crate::packet::{ETHERNET, Packet, Parse};

/// An address family in which a packet can be refused.
pub trait Refuse: Parse {
    /// The IP and ICMP headers of the answer.
    fn headers(refused: &Packet<Self>, quote: &Quote) -> Vec<u8>;
}

impl Refuse for [u8; 4] {
    fn headers(refused: &Packet<Self>, quote: &Quote) -> Vec<u8> {
        unreachable::ipv4_headers(refused, quote).to_vec()
    }
}

impl Refuse for [u8; 16] {
    fn headers(refused: &Packet<Self>, quote: &Quote) -> Vec<u8> {
        unreachable::ipv6_headers(refused, quote).to_vec()
    }
}

/// The answer to a frame that holds `packet`, or none where the packet can't be quoted.
pub fn refuse<A: Refuse>(frame: &[u8], packet: &Packet<A>) -> Option<Vec<u8>> {
    let quote = unreachable::quote(frame, packet).ok()?;
    let headers = A::headers(packet, &quote);
    let [destination, source, ethertype] = [&frame[..6], &frame[6..12], &frame[12..14]];
    let quoted = &frame[ETHERNET..][..quote.len];
    Some([source, destination, ethertype, &headers, quoted].concat())
}
