//! The entry points, and what becomes of a verdict.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lb_common::packet::{self, ETHERNET, Malformed, Packet};
use lb_common::pipeline::{self, Action, Room, Verdict};
use lb_common::reason::Reason;

use crate::apply;
use crate::dataplane::Kernel;
use crate::maps::{FamilyMaps, count};
use crate::reject::Reject;
use crate::scratch::{self, Scratch};
use crate::skb::Skb;

/// Go on: other programs on the same device have their say (`TC_ACT_UNSPEC`, which tcx calls `TCX_NEXT`).
const NEXT: i32 = -1;
/// Drop (`TC_ACT_SHOT`).
pub(crate) const DROP: i32 = 2;

/// Not an action of the kernel: the packet is to be answered by an ICMP error.
const REFUSE: i32 = 100;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Packets from a pod.
#[classifier]
pub fn from_workload(ctx: TcContext) -> i32 {
    let skb = Skb::new(ctx.skb.skb);
    match ours(skb) {
        IPV4 => finish::<[u8; 4]>(skb, from_pod_v4(skb)),
        IPV6 => finish::<[u8; 16]>(skb, from_pod_v6(skb)),
        _ => NEXT,
    }
}

/// Packets to a pod.
#[classifier]
pub fn to_workload(ctx: TcContext) -> i32 {
    let skb = Skb::new(ctx.skb.skb);
    match ours(skb) {
        IPV4 => to_pod_v4(skb),
        IPV6 => to_pod_v6(skb),
        _ => NEXT,
    }
}

/// EtherType of the packet, or 0 for one that belongs to a VLAN inside the pod: its addresses are none of the cluster's.
#[inline(always)]
fn ours(skb: Skb) -> u16 {
    if skb.is_tagged() { 0 } else { skb.ethertype() }
}

// One function a family and direction, each with a stack frame of its own.

#[inline(never)]
fn from_pod_v4(skb: Skb) -> i32 {
    from_pod::<[u8; 4], 4>(skb)
}

#[inline(never)]
fn from_pod_v6(skb: Skb) -> i32 {
    from_pod::<[u8; 16], 16>(skb)
}

#[inline(never)]
fn to_pod_v4(skb: Skb) -> i32 {
    to_pod::<[u8; 4], 4>(skb)
}

#[inline(never)]
fn to_pod_v6(skb: Skb) -> i32 {
    to_pod::<[u8; 16], 16>(skb)
}

#[inline(always)]
fn from_pod<A: FamilyMaps + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    run::<A, N>(skb, pipeline::from_workload)
}

#[inline(always)]
fn to_pod<A: FamilyMaps + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    run::<A, N>(skb, pipeline::to_workload)
}

/// Parses a packet, decides on it, carries the decision out.
#[inline(always)]
fn run<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    decide: impl Fn(&Kernel<A>, &Packet<A>, &mut Room<A>) -> Verdict<A>,
) -> i32 {
    let Some(scratch) = Scratch::get() else {
        return NEXT;
    };
    match parse::<A>(skb) {
        Ok(packet) => {
            // SAFETY: this run's scratch, written here and nowhere else.
            let (packet, room, kernel) = unsafe {
                (
                    scratch::set_packet(scratch, packet),
                    scratch::room(scratch),
                    Kernel::new(scratch),
                )
            };
            carry_out::<A, N>(skb, packet, decide(&kernel, packet, room))
        }
        Err(Malformed) => malformed(),
    }
}

#[inline(always)]
fn parse<A: FamilyMaps>(skb: Skb) -> Result<Packet<A>, Malformed> {
    // Ethernet, an IP header without options, a TCP header without options.
    let usual = ETHERNET + if A::OCTETS == 4 { 20 } else { 40 } + 20;
    skb.make_headers_accessible(usual as u32, 256);
    packet::parse::<A>(&skb, ETHERNET)
}

#[inline(always)]
fn malformed() -> i32 {
    count(Reason::Malformed);
    NEXT
}

/// Carries out a verdict, but for a refusal, which is left to [`finish`] and has stack enough there.
#[inline(always)]
fn carry_out<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    packet: &Packet<A>,
    verdict: Verdict<A>,
) -> i32 {
    match verdict.action {
        Action::Pass => {
            // The bulk of traffic that is not ours writes nothing anywhere.
            if verdict.reason != Reason::NotForService {
                count(verdict.reason);
            }
            NEXT
        }
        Action::Rewrite => match apply::rewrite::<A, N>(skb, packet, &verdict.rewrite) {
            Some(()) => {
                count(verdict.reason);
                NEXT
            }
            None => {
                count(Reason::RewriteFailed);
                DROP
            }
        },
        Action::Reject => {
            count(verdict.reason);
            REFUSE
        }
        Action::Drop => {
            count(verdict.reason);
            DROP
        }
    }
}

#[inline(always)]
fn finish<A: Reject>(skb: Skb, action: i32) -> i32 {
    if action != REFUSE {
        return action;
    }
    let action = A::reject(skb);
    if action == DROP {
        count(Reason::RejectFailed);
    }
    action
}
