//! Plain segments of established connections: decided on and rewritten in one go, by what their flow leads to.

use lb_common::packet::{self, ETHERNET, Packet};
use lb_common::pipeline::{Action, Verdict, express};
use lb_common::reason::Reason;

use crate::apply;
use crate::dataplane::Kernel;
use crate::maps::{FamilyMaps, count};
use crate::near;
use crate::programs::{DROP, ONWARD};
use crate::redirect;
use crate::scratch::{self, Scratch};
use crate::skb::Skb;

/// Not an action of the kernel: the packet is for the general decision.
pub(crate) const UNDECIDED: i32 = 109;

/// Deals with a packet from a pod, or leaves it as it is and says so. As the next, a function of its own for its stack frame, and so
/// that the verifier walks on from here once.
#[inline(never)]
pub(crate) fn from_pod<A: FamilyMaps + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    let Some((scratch, packet)) = read::<A>(skb) else {
        return UNDECIDED;
    };
    // SAFETY: this run's scratch.
    let kernel = unsafe { Kernel::new(scratch) };
    let Some(verdict) = express::from_workload(&kernel, &packet) else {
        return UNDECIDED;
    };
    let action = carry_out::<A, N>(skb, &packet, &verdict);
    if redirect::is_possible() {
        // SAFETY: this run's scratch, of which nothing is in use.
        unsafe {
            scratch::set_packet(scratch, packet);
            if verdict.action == Action::Rewrite {
                scratch::renew_packet(scratch, &verdict.rewrite);
            }
        }
    }
    action
}

/// The same with a packet to a pod.
#[inline(never)]
pub(crate) fn to_pod<A: FamilyMaps + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    match read::<A>(skb) {
        Some((scratch, packet)) => answer::<A, N>(skb, scratch, &packet),
        None => UNDECIDED,
    }
}

/// The same with a packet to a pod that is in the scratch memory already, and whose IP header has no options or extension headers.
#[inline(never)]
pub(crate) fn delivered<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    scratch: *mut Scratch,
) -> i32 {
    if !near::is_there() {
        return UNDECIDED;
    }
    // SAFETY: this run's scratch, in which the packet was stored.
    let packet = unsafe { scratch::packet::<A>(scratch) };
    answer::<A, N>(skb, scratch, packet)
}

#[inline(always)]
fn answer<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    scratch: *mut Scratch,
    packet: &Packet<A>,
) -> i32 {
    // SAFETY: this run's scratch.
    let kernel = unsafe { Kernel::new(scratch) };
    match express::to_workload(&kernel, packet) {
        Some(verdict) => carry_out::<A, N>(skb, packet, &verdict),
        None => UNDECIDED,
    }
}

/// A plain packet, where there is a table that says at once what becomes of it.
#[inline(always)]
fn read<A: FamilyMaps>(skb: Skb) -> Option<(*mut Scratch, Packet<A>)> {
    if !near::is_there() {
        return None;
    }
    let scratch = Scratch::get()?;
    Some((scratch, packet::plain_tcp::<A>(&skb, ETHERNET)?))
}

#[inline(always)]
fn carry_out<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    packet: &Packet<A>,
    verdict: &Verdict<A>,
) -> i32 {
    if verdict.action == Action::Rewrite {
        let Some(edits) = verdict.rewrite.edits(packet) else {
            return UNDECIDED;
        };
        if apply::edit::<A, N>(skb, &edits).is_none() {
            count(Reason::RewriteFailed);
            return DROP;
        }
        count(verdict.reason);
    }
    ONWARD
}
