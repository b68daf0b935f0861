//! The redirect path: hands packets from a pod straight into another pod of the node or straight to the uplink, and packets from
//! the uplink straight into their pod.
//!
//! `from_workload` ends in a tail call to these programs, by an array that nobody pins: the agent puts them there while nothing
//! would be bypassed that must not be, and takes them out. The kernel empties such an array when the last descriptor of it is
//! closed, so that without an agent, who would follow pods and rules, packets go through the host's stack. A tail call to
//! nobody costs nothing: the kernel patches the jump. For the same reason nobody pins the links of `from_uplink`.
//!
//! The packet that is delivered never passes the egress of the pod's device, so that what `to_workload` does there is done
//! here.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::ProgramArray;
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use lb_common::packet::{ETHERNET, Octets, Parse, Transport};
use lb_common::pipeline::deliver::{self, Arrival, Delivery, Pods, Way};
use lb_common::pipeline::glance;
use lb_common::reason::Reason;
use lb_common::redirect::{LocalPod, RemotePods};

use crate::crc;
use crate::dataplane::{Kernel, KernelAddresses, copy_row};
use crate::express::{self, UNDECIDED};
use crate::maps::{self, FamilyMaps, count};
use crate::programs::{DROP, IPV4, IPV6, NEXT, ONWARD, ours, parse, to_pod_parsed};
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

/// Delivers IPv4 packets of pods to pods of this node and of others.
#[classifier]
pub fn deliver_v4(ctx: TcContext) -> i32 {
    deliver::<[u8; 4], 4>(Skb::new(ctx.skb.skb))
}

/// Delivers IPv6 packets of pods to pods of this node and of others.
#[classifier]
pub fn deliver_v6(ctx: TcContext) -> i32 {
    deliver::<[u8; 16], 16>(Skb::new(ctx.skb.skb))
}

/// Delivers packets of other nodes to pods of this one.
#[classifier]
pub fn from_uplink(ctx: TcContext) -> i32 {
    let skb = Skb::new(ctx.skb.skb);
    match ours(skb) {
        IPV4 => receive::<[u8; 4], 4>(skb),
        IPV6 => receive::<[u8; 16], 16>(skb),
        _ => NEXT,
    }
}

impl<A: FamilyMaps> Pods for Kernel<A> {
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

    #[inline(always)]
    fn remote_pods(&self, address: &A) -> Option<RemotePods<A>> {
        let row = core::ptr::from_ref(A::remote_pods().get(&maps::host_prefix(address))?);
        let mut way = core::mem::MaybeUninit::uninit();
        // SAFETY: as for pods.
        let way: RemotePods<A> = unsafe {
            copy_row(row, way.as_mut_ptr());
            way.assume_init()
        };
        if way.is_unknown() { None } else { Some(way) }
    }
}

/// The packet is the one that `from_workload` has left in the scratch memory, in the same run on the same CPU.
#[inline(always)]
fn deliver<A: FamilyMaps + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    let Some(scratch) = Scratch::get() else {
        return NEXT;
    };
    match way::<A>(skb, scratch) {
        STACK => NEXT,
        OUT => send_out::<A, N>(skb, scratch),
        way => into_pod::<A, N>(skb, scratch, way),
    }
}

/// Most of what comes in by an uplink is for the node itself: it costs one lookup.
#[inline(always)]
fn receive<A: FamilyMaps + From<[u8; N]> + Into<[u8; N]>, const N: usize>(skb: Skb) -> i32 {
    skb.make_headers_accessible((ETHERNET + A::HEADER) as u32, 256);
    let Some(destination) = skb.read::<N>(ETHERNET + A::SOURCE + A::OCTETS) else {
        return NEXT;
    };
    if A::local_pods().get_ptr(&A::from(destination)).is_none() {
        return NEXT;
    }
    let Some(scratch) = Scratch::get() else {
        return NEXT;
    };
    if !parse::<A>(skb, scratch) {
        return NEXT;
    }
    match way_in::<A>(skb, scratch) {
        STACK => NEXT,
        way => into_pod::<A, N>(skb, scratch, way),
    }
}

/// Hands the packet to the pod in the scratch memory, as what it is to that.
#[inline(always)]
fn into_pod<A: FamilyMaps + Into<[u8; N]>, const N: usize>(
    skb: Skb,
    scratch: *mut Scratch,
    way: u32,
) -> i32 {
    // SAFETY: this run's scratch, in which the packet was stored.
    let packet = unsafe { scratch::packet::<A>(scratch) };
    let action = if glance::may_be_answer(&KernelAddresses::NEW, packet) {
        let action = match packet.transport {
            Transport::Tcp(..) => express::delivered::<A, N>(skb, scratch),
            _ => UNDECIDED,
        };
        match action {
            UNDECIDED => crc::followed(skb, to_pod_parsed::<A, N>(skb, scratch)),
            action => action,
        }
    } else {
        ONWARD
    };
    match action {
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
const OUT: u32 = 3;

/// How a packet from a pod goes on; stores where to in the scratch memory. No function of its own: where the kernel guards returns
/// against speculation, each costs nanoseconds.
#[inline(always)]
fn way<A: FamilyMaps>(skb: Skb, scratch: *mut Scratch) -> u32 {
    let Some(arrival) = arrival::<A>(skb) else {
        return STACK;
    };
    // SAFETY: this run's scratch, in which the packet was stored before the tail call.
    let (packet, kernel) = unsafe { (scratch::packet(scratch), Kernel::<A>::new(scratch)) };
    go::<A>(skb, scratch, &deliver::from_pod(&kernel, packet, &arrival))
}

/// How a packet from an uplink goes on; stores where to in the scratch memory. A function of its own, so that the verifier walks on
/// from here once.
#[inline(never)]
fn way_in<A: FamilyMaps>(skb: Skb, scratch: *mut Scratch) -> u32 {
    let Some(arrival) = arrival::<A>(skb) else {
        return STACK;
    };
    // SAFETY: this run's scratch, in which the packet was just stored.
    let (packet, kernel) = unsafe { (scratch::packet(scratch), Kernel::<A>::new(scratch)) };
    go::<A>(
        skb,
        scratch,
        &deliver::from_uplink(&kernel, packet, &arrival),
    )
}

#[inline(always)]
fn go<A: Parse>(skb: Skb, scratch: *mut Scratch, delivery: &Delivery<A>) -> u32 {
    let (way, ifindex) = match delivery.way {
        Way::Stack => {
            if delivery.reason != Reason::NotForService {
                count(delivery.reason);
            }
            return STACK;
        }
        Way::Bridged => (BRIDGED, delivery.pod.ifindex()),
        Way::Routed => (ROUTED, delivery.pod.ifindex()),
        Way::Out => (OUT, delivery.out.ifindex()),
    };
    match skb.fits(ifindex) {
        Fit::Fits => {
            // SAFETY: this run's scratch; nobody has a reference to what is stored.
            unsafe {
                if way == OUT {
                    scratch::set_out(scratch, delivery.out);
                } else {
                    scratch::set_pod(scratch, delivery.pod);
                }
            }
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
#[inline(always)]
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

/// Sends the packet out by the way in the scratch memory. The kernel resolves the gateway's Ethernet address.
#[inline(never)]
fn send_out<A: Parse + Into<[u8; N]>, const N: usize>(skb: Skb, scratch: *mut Scratch) -> i32 {
    // SAFETY: this run's scratch, in which the way was stored.
    let out = unsafe { scratch::out::<A>(scratch) };
    if decrement::<A>(skb).is_none() {
        count(Reason::RewriteFailed);
        return DROP;
    }
    count(Reason::Sent);
    skb.redirect_by(out.ifindex(), out.gateway().into())
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
    skb.write(0, pod.mac())?;
    skb.write(6, pod.node_mac())?;
    decrement::<A>(skb)
}

/// One hop less.
#[inline(always)]
fn decrement<A: Parse>(skb: Skb) -> Option<()> {
    let edits = deliver::hop::<A>(&skb)?;
    match edits.checksum {
        // IPv6 has no header checksum: where the device has summed up the whole packet, its sum must follow.
        (0, _) => skb.store_counted(edits.at as u32, &edits.word),
        (at, checksum) => {
            skb.write(at, checksum)?;
            skb.write(edits.at, edits.word)
        }
    }
}
