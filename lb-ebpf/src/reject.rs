//! Turns a packet into the answer that refuses it, and sends it back where it came from.

use lb_common::packet::reset::{self, Opening};
use lb_common::packet::unreachable::{self, IPV4_HEADERS, IPV6_HEADERS, Quote};
use lb_common::packet::{ETHERNET, Octets, ipv6};

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

// Functions of their own, for their stack frames.

#[inline(never)]
fn reject_v4(skb: Skb) -> i32 {
    let Some(scratch) = Scratch::get() else {
        return DROP;
    };
    // SAFETY: this run's scratch; the packet was stored before it could be refused.
    let packet = unsafe { scratch::packet::<[u8; 4]>(scratch) };
    let Ok(quote) = unreachable::quote(&skb, packet) else {
        return DROP;
    };
    // SAFETY: this run's scratch; what was copied there has been summed up.
    let headers = unsafe { scratch::headers::<IPV4_HEADERS>(scratch) };
    unreachable::ipv4_headers(packet, &quote, headers);
    answer(skb, quote.len, headers).unwrap_or(DROP)
}

#[inline(never)]
fn reject_v6(skb: Skb) -> i32 {
    let Some(scratch) = Scratch::get() else {
        return DROP;
    };
    // SAFETY: this run's scratch; the packet was stored before it could be refused.
    let packet = unsafe { scratch::packet::<[u8; 16]>(scratch) };
    if let Some(opening) = reset::opening(&skb, packet) {
        return reset_v6(skb, scratch, &opening);
    }
    unreachable_v6(skb, scratch)
}

/// The answer to anything else.
#[inline(never)]
fn unreachable_v6(skb: Skb, scratch: *mut Scratch) -> i32 {
    // SAFETY: this run's scratch; the packet was stored before it could be refused.
    let packet = unsafe { scratch::packet::<[u8; 16]>(scratch) };
    let Ok(quote) = unreachable::quote(&skb, packet) else {
        return DROP;
    };
    unreachable_v6_headers(scratch, &quote);
    // SAFETY: this run's scratch; nobody else uses the headers that were just made.
    let headers = unsafe { scratch::headers::<IPV6_HEADERS>(scratch) };
    answer(skb, quote.len, headers).unwrap_or(DROP)
}

#[inline(never)]
fn unreachable_v6_headers(scratch: *mut Scratch, quote: &Quote) {
    // SAFETY: this run's scratch; what was copied there has been summed up.
    let (packet, headers) = unsafe { (scratch::packet(scratch), scratch::headers(scratch)) };
    unreachable::ipv6_headers(packet, quote, headers);
}

/// The answer to a segment that opens a connection.
#[inline(never)]
fn reset_v6(skb: Skb, scratch: *mut Scratch, opening: &Opening) -> i32 {
    // SAFETY: this run's scratch; the packet was stored before it could be refused, and nobody uses the octets.
    let (packet, headers) = unsafe { (scratch::packet(scratch), scratch::headers(scratch)) };
    reset::headers(packet, opening, headers);
    let extensions = packet.l4 - ETHERNET - ipv6::HEADER;
    reset(skb, extensions, headers).unwrap_or(DROP)
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
