//! Turns a ping of a VIP into the reply, and sends it back where it came from.

use lb_common::packet::echo;
use lb_common::reason::Reason;

use crate::maps::{FamilyMaps, count};
use crate::programs::DROP;
use crate::scratch::{self, Scratch};
use crate::skb::Skb;

/// An address family in which a ping can be answered.
pub(crate) trait Echo {
    /// Makes the reply out of the request and returns the program's action: send it back, or drop where the kernel refuses
    /// access to the packet.
    fn echo(skb: Skb) -> i32;
}

impl Echo for [u8; 4] {
    #[inline(always)]
    fn echo(skb: Skb) -> i32 {
        echo_v4(skb)
    }
}

impl Echo for [u8; 16] {
    #[inline(always)]
    fn echo(skb: Skb) -> i32 {
        echo_v6(skb)
    }
}

// Functions of their own, for their stack frames.

#[inline(never)]
fn echo_v4(skb: Skb) -> i32 {
    answer::<[u8; 4]>(skb)
}

#[inline(never)]
fn echo_v6(skb: Skb) -> i32 {
    answer::<[u8; 16]>(skb)
}

#[inline(always)]
fn answer<A: FamilyMaps>(mut skb: Skb) -> i32 {
    let Some(scratch) = Scratch::get() else {
        return DROP;
    };
    // SAFETY: this run's scratch; the packet was stored before it could be decided on.
    let request = unsafe { scratch::packet::<A>(scratch) };
    match echo::reply(&mut skb, request) {
        Some(()) => {
            count(Reason::Echo);
            skb.send_back()
        }
        None => {
            count(Reason::RewriteFailed);
            DROP
        }
    }
}
