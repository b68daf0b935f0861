//! The entry points, and what becomes of a verdict.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lb_common::conntrack::Direction;
use lb_common::packet::{self, ETHERNET, Malformed, Packet};
use lb_common::pipeline::glance::{self, Sight};
use lb_common::pipeline::{self, Action, Room, Verdict};
use lb_common::reason::Reason;

use crate::apply;
use crate::crc;
use crate::dataplane::{Kernel, KernelAddresses};
use crate::echo::Echo;
use crate::express::{self, UNDECIDED};
use crate::families;
use crate::hold::Hold;
use crate::maps::{FamilyMaps, count};
use crate::redirect;
use crate::reject::Reject;
use crate::relate::{Relate, Unrelated};
use crate::scratch::{self, Scratch};
use crate::skb::Skb;

/// Go on: other programs on the same device have their say (`TC_ACT_UNSPEC`, which tcx calls `TCX_NEXT`).
pub(crate) const NEXT: i32 = -1;
/// Drop (`TC_ACT_SHOT`).
pub(crate) const DROP: i32 = 2;

/// Not an action of the kernel: the packet is to be answered by an ICMP error.
const REFUSE: i32 = 100;
/// Nor these: the packet is an ICMP error. Where it is about no known flow it passes, uncounted or as one to a VIP.
const RELATE: i32 = 101;
const RELATE_TO_VIP: i32 = 102;
/// Or it is dropped, for nobody has its destination.
const RELATE_TO_NOBODY: i32 = 103;
/// Nor this: the packet is a ping to be answered.
const ECHO: i32 = 104;
/// Nor these: the packet is a fragment that is kept, or one for which others were kept.
const HOLD: i32 = 105;
const PUT_BACK: i32 = 106;
/// Nor this: the packet goes on, and is what the scratch memory says.
pub(crate) const ONWARD: i32 = 107;
/// Nor this: the packet goes on as well, once the checksum of SCTP has followed.
pub(crate) const CRC: i32 = 108;

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;

/// Packets from a pod.
#[classifier]
pub fn from_workload(ctx: TcContext) -> i32 {
    let skb = Skb::new(ctx.skb.skb);
    match ours(skb) {
        IPV4 => match sight_from_pod::<[u8; 4]>(skb) {
            Sight::Service => redirect::onward::<[u8; 4]>(
                &ctx,
                finish::<[u8; 4]>(skb, from_pod::<[u8; 4], 4>(skb)),
            ),
            sight => redirect::onward::<[u8; 4]>(&ctx, at_sight::<[u8; 4]>(skb, sight)),
        },
        IPV6 => match sight_from_pod::<[u8; 16]>(skb) {
            Sight::Service => redirect::onward::<[u8; 16]>(
                &ctx,
                finish::<[u8; 16]>(skb, from_pod::<[u8; 16], 16>(skb)),
            ),
            sight => redirect::onward::<[u8; 16]>(&ctx, at_sight::<[u8; 16]>(skb, sight)),
        },
        _ => NEXT,
    }
}

/// Packets to a pod.
#[classifier]
pub fn to_workload(ctx: TcContext) -> i32 {
    let skb = Skb::new(ctx.skb.skb);
    match ours(skb) {
        IPV4 => match sight_to_pod::<[u8; 4]>(skb) {
            Sight::Service => finish_to_pod::<[u8; 4]>(skb, to_pod::<[u8; 4], 4>(skb)),
            sight => known_at_sight(sight),
        },
        IPV6 => match sight_to_pod::<[u8; 16]>(skb) {
            Sight::Service => finish_to_pod::<[u8; 16]>(skb, to_pod::<[u8; 16], 16>(skb)),
            sight => known_at_sight(sight),
        },
        _ => NEXT,
    }
}

/// EtherType of the packet, or 0 for one that is not served: of another family, or of a VLAN inside the pod, whose addresses are none
/// of the cluster's.
#[inline(always)]
pub(crate) fn ours(skb: Skb) -> u16 {
    if skb.is_tagged() {
        return 0;
    }
    match skb.ethertype() {
        IPV4 if families::serve::<[u8; 4]>() => IPV4,
        IPV6 if families::serve::<[u8; 16]>() => IPV6,
        _ => 0,
    }
}

/// What a packet from a pod is by its addresses. Most packets have their headers in the accessible part.
#[inline(always)]
fn sight_from_pod<A: FamilyMaps>(skb: Skb) -> Sight {
    skb.make_headers_accessible((ETHERNET + A::HEADER) as u32, 256);
    glance::from_workload(&KernelAddresses::<A>::NEW, &skb, ETHERNET)
}

/// What a packet to a pod is by its addresses.
#[inline(always)]
fn sight_to_pod<A: FamilyMaps>(skb: Skb) -> Sight {
    skb.make_headers_accessible((ETHERNET + A::HEADER) as u32, 256);
    glance::to_workload(&KernelAddresses::<A>::NEW, &skb, ETHERNET)
}

/// What becomes of a packet that is decided on at first sight.
#[inline(always)]
fn known_at_sight(sight: Sight) -> i32 {
    match sight {
        Sight::Malformed => {
            count(Reason::Malformed);
            NEXT
        }
        Sight::Nobody => {
            count(Reason::Unallocated);
            DROP
        }
        Sight::Other | Sight::Service => NEXT,
    }
}

/// The same of one from a pod. The redirect path wants to know all of those that go on.
#[inline(always)]
fn at_sight<A: FamilyMaps>(skb: Skb, sight: Sight) -> i32 {
    if sight != Sight::Other || !redirect::is_possible() {
        return known_at_sight(sight);
    }
    match Scratch::get() {
        Some(scratch) if parse::<A>(skb, scratch) => ONWARD,
        _ => NEXT,
    }
}

#[inline(always)]
fn from_pod<A: FamilyMaps + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    match express::from_pod::<A, N>(skb) {
        UNDECIDED => {}
        action => return action,
    }
    let Some(scratch) = Scratch::get() else {
        return NEXT;
    };
    if !parse::<A>(skb, scratch) {
        count(Reason::Malformed);
        return NEXT;
    }
    judge::<A, N>(skb, scratch, pipeline::from_workload)
}

#[inline(always)]
fn to_pod<A: FamilyMaps + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    match express::to_pod::<A, N>(skb) {
        UNDECIDED => {}
        action => return action,
    }
    let Some(scratch) = Scratch::get() else {
        return NEXT;
    };
    if !parse::<A>(skb, scratch) {
        count(Reason::Malformed);
        return NEXT;
    }
    to_pod_parsed::<A, N>(skb, scratch)
}

/// Decides on the packet in the scratch memory as one that reaches a pod, and carries the decision out. A function of its own,
/// for two programs call it.
#[inline(never)]
pub(crate) fn to_pod_parsed<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    scratch: *mut Scratch,
) -> i32 {
    judge::<A, N>(skb, scratch, pipeline::to_workload)
}

/// Decides on the packet in the scratch memory, carries the decision out.
#[inline(always)]
fn judge<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    scratch: *mut Scratch,
    decide: impl Fn(&Kernel<A>, &Packet<A>, &mut Room<A>) -> Verdict<A>,
) -> i32 {
    // SAFETY: this run's scratch, in which the packet was stored; each part is taken once.
    let (packet, room, kernel) = unsafe {
        (
            scratch::packet(scratch),
            scratch::room(scratch),
            Kernel::new(scratch),
        )
    };
    let action = carry_out::<A, N>(skb, scratch, decide(&kernel, packet, room));
    if action == ONWARD && room.held() != 0 {
        return PUT_BACK;
    }
    action
}

/// Reads the packet into the scratch memory, and returns whether it makes sense. A function of its own, for its stack frame.
#[inline(never)]
pub(crate) fn parse<A: FamilyMaps>(skb: Skb, scratch: *mut Scratch) -> bool {
    // Ethernet, an IP header without options, a TCP header without options.
    let usual = ETHERNET + if A::OCTETS == 4 { 20 } else { 40 } + 20;
    skb.make_headers_accessible(usual as u32, 256);
    match packet::parse::<A>(&skb, ETHERNET) {
        Ok(packet) => {
            // SAFETY: this run's scratch; nobody has a reference to its packet yet.
            unsafe { scratch::set_packet(scratch, packet) };
            true
        }
        Err(Malformed) => false,
    }
}

/// Carries out a verdict, but for a refusal, what an ICMP error becomes and the answer to a ping: these are left to [`finish`]
/// and have stack enough there.
#[inline(always)]
fn carry_out<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    scratch: *mut Scratch,
    verdict: Verdict<A>,
) -> i32 {
    match verdict.action {
        Action::Pass => {
            // The bulk of traffic that is not ours writes nothing anywhere.
            if verdict.reason != Reason::NotForService {
                count(verdict.reason);
            }
            ONWARD
        }
        Action::Rewrite => {
            let action = apply::rewrite::<A, N>(skb, scratch, &verdict.rewrite);
            if action != DROP && redirect::is_possible() {
                // SAFETY: this run's scratch; the rewrite is over, and nobody has a reference to the packet.
                unsafe { scratch::renew_packet(scratch, &verdict.rewrite) };
            }
            count(if action == DROP {
                Reason::RewriteFailed
            } else {
                verdict.reason
            });
            action
        }
        Action::Relate if verdict.reason == Reason::NotForService => RELATE,
        Action::Relate if verdict.reason == Reason::Unallocated => RELATE_TO_NOBODY,
        Action::Relate => RELATE_TO_VIP,
        Action::Echo => ECHO,
        Action::Reject => {
            count(verdict.reason);
            REFUSE
        }
        Action::Drop => {
            count(verdict.reason);
            DROP
        }
        Action::Hold => HOLD,
    }
}

#[inline(always)]
fn finish<A: Reject + Relate + Echo + Hold>(skb: Skb, action: i32) -> i32 {
    match crc::followed(skb, action) {
        HOLD => A::hold(skb, Direction::FromClient),
        PUT_BACK => A::put_back(skb, Direction::FromClient),
        REFUSE => refuse::<A>(skb),
        ECHO => A::echo(skb),
        // One call for all: the verifier walks each call to its end.
        RELATE..=RELATE_TO_NOBODY => A::from_pod(skb).unwrap_or_else(|Unrelated| match action {
            RELATE_TO_NOBODY => {
                count(Reason::Unallocated);
                DROP
            }
            RELATE_TO_VIP => {
                count(Reason::UnknownProtocol);
                NEXT
            }
            _ => NEXT,
        }),
        action => action,
    }
}

#[inline(always)]
fn finish_to_pod<A: Relate + Hold>(skb: Skb, action: i32) -> i32 {
    match crc::followed(skb, action) {
        HOLD => A::hold(skb, Direction::FromBackend),
        PUT_BACK => A::put_back(skb, Direction::FromBackend),
        RELATE => A::to_pod(skb).unwrap_or(NEXT),
        ONWARD => NEXT,
        action => action,
    }
}

#[inline(always)]
fn refuse<A: Reject>(skb: Skb) -> i32 {
    let action = A::reject(skb);
    if action == DROP {
        count(Reason::RejectFailed);
    }
    action
}
