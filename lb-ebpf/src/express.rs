//! Plain segments of established connections: read, decided on and rewritten in one go, past the working memory.

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
    pass_by::<A, N>(skb, express::from_workload)
}

/// The same with a packet to a pod.
#[inline(never)]
pub(crate) fn to_pod<A: FamilyMaps + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    pass_by::<A, N>(skb, express::to_workload)
}

#[inline(always)]
fn pass_by<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    decide: impl Fn(&Kernel<A>, &Packet<A>) -> Option<Verdict<A>>,
) -> i32 {
    if !near::is_there() {
        return UNDECIDED;
    }
    let Some(scratch) = Scratch::get() else {
        return UNDECIDED;
    };
    let Some(packet) = packet::plain_tcp::<A>(&skb, ETHERNET) else {
        return UNDECIDED;
    };
    // SAFETY: this run's scratch.
    let kernel = unsafe { Kernel::new(scratch) };
    let Some(verdict) = decide(&kernel, &packet) else {
        return UNDECIDED;
    };
    if verdict.action == Action::Rewrite {
        let Some(edits) = verdict.rewrite.edits(&packet) else {
            return UNDECIDED;
        };
        if apply::edit::<A, N>(skb, &edits).is_none() {
            count(Reason::RewriteFailed);
            return DROP;
        }
        count(verdict.reason);
    }
    if redirect::is_possible() {
        // SAFETY: this run's scratch, of which nothing is in use.
        unsafe {
            scratch::set_packet(scratch, packet);
            if verdict.action == Action::Rewrite {
                scratch::renew_packet(scratch, &verdict.rewrite);
            }
        }
    }
    ONWARD
}
