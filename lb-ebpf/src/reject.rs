//! Turns a packet into the answer that refuses it, and sends it back where it came from.

use lb_common::packet::reset;
use lb_common::packet::unreachable::{self, IPV4_HEADERS, IPV6_HEADERS};
use lb_common::packet::{self, ETHERNET, Octets, ipv6};

use crate::programs::DROP;
use crate::scratch::{self, Scratch};
use crate::skb::Skb;

/// An address family in which a packet can be refused.
pub(crate) trait Reject {
    /// Makes the answer out of the packet and returns the program's action: send it back, or drop where the kernel
    /// refuses to change the packet.
    fn reject(skb: Skb) -> i32;
}

impl Reject for [u8; 4] {
    #[inline(always)]
    fn reject(skb: Skb) -> i32 {
        reject_v4(skb)
    }
}

impl Reject for [u8; 16] {
    #[inline(always)]
    fn reject(skb: Skb) -> i32 {
        reject_v6(skb)
    }
}

// Functions of their own, for their stack frames. They read the packet once more: a reference to it would keep it in
// memory on the path of every packet.

#[inline(never)]
fn reject_v4(skb: Skb) -> i32 {
    let Some(scratch) = Scratch::get() else {
        return DROP;
    };
    let Ok(packet) = packet::parse::<[u8; 4]>(&skb, ETHERNET) else {
        return DROP;
    };
    // SAFETY: this run's scratch, and nobody uses what it held before.
    let packet = unsafe { scratch::set_packet(scratch, packet) };
    let Ok(quote) = unreachable::quote(&skb, packet) else {
        return DROP;
    };
    let headers = unreachable::ipv4_headers(packet, &quote);
    answer::<IPV4_HEADERS>(skb, quote.len, &headers).unwrap_or(DROP)
}

#[inline(never)]
fn reject_v6(skb: Skb) -> i32 {
    let Some(scratch) = Scratch::get() else {
        return DROP;
    };
    let Ok(packet) = packet::parse::<[u8; 16]>(&skb, ETHERNET) else {
        return DROP;
    };
    // SAFETY: this run's scratch, and nobody uses what it held before.
    let packet = unsafe { scratch::set_packet(scratch, packet) };
    if let Some(opening) = reset::opening(&skb, packet) {
        let headers = reset::headers(packet, &opening);
        let extensions = packet.l4 - ETHERNET - ipv6::HEADER;
        return reset(skb, extensions, &headers).unwrap_or(DROP);
    }
    let Ok(quote) = unreachable::quote(&skb, packet) else {
        return DROP;
    };
    let headers = unreachable::ipv6_headers(packet, &quote);
    answer::<IPV6_HEADERS>(skb, quote.len, &headers).unwrap_or(DROP)
}

/// Makes the answer out of the head of the packet, `quoted` octets from the IP header on, behind new headers.
#[inline(always)]
fn answer<const HEADERS: usize>(skb: Skb, quoted: usize, headers: &[u8; HEADERS]) -> Option<i32> {
    skb.cut((ETHERNET + quoted) as u32)?;
    skb.resize_after_ethernet(HEADERS as i32)?;
    send_back(skb, headers)
}

/// Makes the answer out of new headers alone. They take the place of the IPv6 and TCP headers, so that a checksum which is
/// left to the device stays where the buffer says that it is.
#[inline(always)]
fn reset(skb: Skb, extensions: usize, headers: &[u8; reset::HEADERS]) -> Option<i32> {
    skb.cut((ETHERNET + reset::HEADERS + extensions) as u32)?;
    if extensions != 0 {
        skb.resize_after_ethernet(-(extensions as i32))?;
    }
    send_back(skb, headers)
}

/// Exchanges the ends of the Ethernet header, writes what follows it, and sends the packet out of the device that it came
/// in by.
#[inline(always)]
fn send_back<const HEADERS: usize>(skb: Skb, headers: &[u8; HEADERS]) -> Option<i32> {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = skb.read::<12>(0)?;
    skb.store(0, &[s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5])?;
    skb.store(ETHERNET as u32, headers)?;
    Some(skb.send_back())
}
