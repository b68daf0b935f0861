//! The redirect path: hands packets from a pod straight into another pod of the node.
//!
//! `from_workload` ends in a tail call to these programs, by an array that nobody pins: the agent puts them there while nothing
//! would be bypassed that must not be, and takes them out. The kernel empties such an array when the last descriptor of it is
//! closed, so that without an agent, who would follow pods and rules, packets go through the host's stack. A tail call to
//! nobody costs nothing: the kernel patches the jump.
//!
//! The packet that is delivered never passes the egress of the pod's device, so that what `to_workload` does there is done
//! here.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::ProgramArray;
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use lb_common::packet::{ETHERNET, Octets, Parse};
use lb_common::pipeline::deliver::{self, Arrival, LocalPods, Way};
use lb_common::reason::Reason;
use lb_common::redirect::LocalPod;

use crate::crc;
use crate::dataplane::{Kernel, copy_row};
use crate::maps::{FamilyMaps, count};
use crate::programs::{DROP, NEXT, ONWARD, to_pod_parsed};
use crate::scratch::{self, Scratch};
use crate::skb::{Fit, Skb};

/// Whether this agent may turn the redirect path on; 0 removes all of it from the program as it is loaded.
#[unsafe(no_mangle)]
static REDIRECT: Global<u32> = Global::new(0);

/// The programs that deliver, by family; empty while the redirect path is off.
#[btf_map(name = "deliver")]
static DELIVER: ProgramArray<2> = ProgramArray::new();

const V4: u32 = 0;
const V6: u32 = 1;

/// Whether the redirect path may be on.
#[inline(always)]
pub(crate) fn is_possible() -> bool {
    REDIRECT.load() != 0
}

/// The action for a packet that goes on: delivers it if that is on, in which case this never returns.
#[inline(always)]
pub(crate) fn onward<A: FamilyMaps>(context: &TcContext, action: i32) -> i32 {
    if action != ONWARD {
        return action;
    }
    if is_possible() {
        let family = if A::OCTETS == 4 { V4 } else { V6 };
        // SAFETY: no destructor is left out, and the packet is in the scratch memory, as the programs expect.
        unsafe { DELIVER.tail_call(context, family) };
    }
    NEXT
}

/// Delivers IPv4 packets of pods to pods of this node.
#[classifier]
pub fn deliver_v4(ctx: TcContext) -> i32 {
    deliver::<[u8; 4], 4>(Skb::new(ctx.skb.skb))
}

/// Delivers IPv6 packets of pods to pods of this node.
#[classifier]
pub fn deliver_v6(ctx: TcContext) -> i32 {
    deliver::<[u8; 16], 16>(Skb::new(ctx.skb.skb))
}

impl<A: FamilyMaps> LocalPods for Kernel<A> {
    type Address = A;

    #[inline(always)]
    fn local_pod(&self, address: &A) -> Option<LocalPod> {
        let row = A::local_pods().get_ptr(address)?;
        let mut pod = core::mem::MaybeUninit::uninit();
        // SAFETY: the agent replaces rows as a whole, and the old one lives until this program ends; the copy is whole.
        unsafe {
            copy_row(row, pod.as_mut_ptr());
            Some(pod.assume_init())
        }
    }
}

/// The packet is the one that `from_workload` has left in the scratch memory, in the same run on the same CPU.
#[inline(always)]
fn deliver<A: FamilyMaps + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    let Some(scratch) = Scratch::get() else {
        return NEXT;
    };
    let way = way::<A>(skb, scratch);
    if way == STACK {
        return NEXT;
    }
    match crc::followed(skb, to_pod_parsed::<A, N>(skb, scratch)) {
        ONWARD => hand_over::<A>(skb, scratch, way),
        DROP => DROP,
        // Fragments and ICMP errors, which alone ask for more, are left to the stack before.
        _ => NEXT,
    }
}

/// Numbers of [`Way`], for a function of the program returns a number.
const STACK: u32 = 0;
const BRIDGED: u32 = 1;
const ROUTED: u32 = 2;

/// How the packet goes on; stores the pod in the scratch memory. As the next one a function of its own, so that its stack frame
/// is gone when the packet is judged.
#[inline(never)]
fn way<A: FamilyMaps>(skb: Skb, scratch: *mut Scratch) -> u32 {
    let Some(arrival) = arrival::<A>(skb) else {
        return STACK;
    };
    // SAFETY: this run's scratch, in which the packet was stored before the tail call.
    let (packet, kernel) = unsafe { (scratch::packet(scratch), Kernel::<A>::new(scratch)) };
    let delivery = deliver::deliver(&kernel, packet, &arrival);
    let way = match delivery.way {
        Way::Stack => {
            if delivery.reason != Reason::NotForService {
                count(delivery.reason);
            }
            return STACK;
        }
        Way::Bridged => BRIDGED,
        Way::Routed => ROUTED,
    };
    match skb.fits(delivery.pod.ifindex()) {
        Fit::Fits => {
            // SAFETY: this run's scratch; nobody has a reference to its pod.
            unsafe { scratch::set_pod(scratch, delivery.pod) };
            way
        }
        Fit::TooBig => {
            count(Reason::StackTooBig);
            STACK
        }
        Fit::NoDevice => {
            count(Reason::StackNoDevice);
            STACK
        }
    }
}

/// Hands the packet to the pod in the scratch memory.
#[inline(never)]
fn hand_over<A: Parse>(skb: Skb, scratch: *mut Scratch, way: u32) -> i32 {
    // SAFETY: this run's scratch, in which the pod was stored.
    let pod = unsafe { scratch::pod(scratch) };
    if way == ROUTED && pass_hop::<A>(skb, &pod).is_none() {
        count(Reason::RewriteFailed);
        return DROP;
    }
    skb.make_for_host();
    count(Reason::Delivered);
    skb.redirect_into(pod.ifindex())
}

#[inline(always)]
fn arrival<A: Parse>(skb: Skb) -> Option<Arrival> {
    let destination = skb.read::<6>(0)?;
    let [hop_limit] = skb.read::<1>(ETHERNET + A::HOP_LIMIT)?;
    Some(Arrival {
        ifindex: skb.ifindex(),
        destination,
        is_for_device: skb.is_for_device(),
        hop_limit,
    })
}

/// What the host's stack does to a packet that it forwards to the pod.
#[inline(always)]
fn pass_hop<A: Parse>(skb: Skb, pod: &LocalPod) -> Option<()> {
    let edits = deliver::hop::<A>(&skb)?;
    skb.write(0, pod.mac())?;
    skb.write(6, pod.node_mac())?;
    match edits.checksum {
        // IPv6 has no header checksum: where the device has summed up the whole packet, its sum must follow.
        (0, _) => skb.store_counted(edits.at as u32, &edits.word),
        (at, checksum) => {
            skb.write(at, checksum)?;
            skb.write(edits.at, edits.word)
        }
    }
}
