//! The redirect path: whether a packet that comes from a pod goes straight into another pod of the node, and what the host's
//! stack would have done to it on the way.
//!
//! The question is asked once the packet has the destination that it shall have. Wherever the host's stack might do more
//! than hand the packet on, it gets the packet, and that is counted: it sends the ICMP errors, joins and makes fragments,
//! reads options, judges sources.

use crate::checksum;
use crate::packet::{ETHERNET, Fragment, Octets, Packet, Parse, Transport};
use crate::reason::Reason;
use crate::redirect::LocalPod;

/// Where local pods are known.
pub trait LocalPods {
    /// The address family.
    type Address: Parse;
    /// The pod of this node that has the address.
    fn local_pod(&self, address: &Self::Address) -> Option<LocalPod>;
}

/// How a packet has come to the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Index of the device.
    pub ifindex: u32,
    /// Destination of the Ethernet header.
    pub destination: [u8; 6],
    /// Whether the kernel says that this is the device's own Ethernet address.
    pub is_for_device: bool,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

/// How a packet goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Through the host's stack, as it would without the redirect path.
    Stack,
    /// Into the pod as it is: the sender has addressed the pod itself, as through a bridge.
    Bridged,
    /// Into the pod, a hop further: the sender has addressed the node.
    Routed,
}

/// How a packet goes on, and why. No enum with data, for the same reason as [`Verdict`](super::Verdict).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// How.
    pub way: Way,
    /// Why; [`Reason::NotForService`] where the destination is no local pod, which is not counted.
    pub reason: Reason,
    /// The pod; all zeros where the destination is none.
    pub pod: LocalPod,
}

/// Decides how a packet from a pod goes on. `packet` is what it is after its rewrite.
#[inline(always)]
pub fn deliver<P: LocalPods>(pods: &P, packet: &Packet<P::Address>, arrival: &Arrival) -> Delivery {
    let Some(pod) = pods.local_pod(&packet.destination) else {
        return Delivery {
            way: Way::Stack,
            reason: Reason::NotForService,
            pod: LocalPod::new(0, [0; 6], [0; 6]),
        };
    };
    let (way, reason) = match obstacle(pods, packet, arrival, &pod) {
        Some(reason) => (Way::Stack, reason),
        None if arrival.destination == pod.mac() => (Way::Bridged, Reason::Delivered),
        None => (Way::Routed, Reason::Delivered),
    };
    Delivery { way, reason, pod }
}

#[inline(always)]
fn obstacle<P: LocalPods>(
    pods: &P,
    packet: &Packet<P::Address>,
    arrival: &Arrival,
    pod: &LocalPod,
) -> Option<Reason> {
    // A device can't send to itself; a hairpin's second translation is at its egress.
    if pod.ifindex() == arrival.ifindex {
        return Some(Reason::StackHairpin);
    }
    if packet.l4 - packet.l3 != P::Address::HEADER
        || packet.fragment != Fragment::WHOLE
        || packet.transport == Transport::IcmpError
    {
        return Some(Reason::StackHeaders);
    }
    // Who sends from an address that is not its own is for the stack to judge (reverse path filter, RFC 3704).
    match pods.local_pod(&packet.source) {
        Some(sender) if sender.ifindex() == arrival.ifindex => {}
        _ => return Some(Reason::StackSource),
    }
    if arrival.destination == pod.mac() {
        return None;
    }
    if !arrival.is_for_device && arrival.destination != pod.node_mac() {
        return Some(Reason::StackLink);
    }
    // The stack answers that it has expired.
    (arrival.hop_limit <= 1).then_some(Reason::StackHopLimit)
}

/// What forwarding changes in an IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HopEdits {
    /// Offset in the frame of the 16-bit word that holds TTL or hop limit.
    pub at: usize,
    /// The word as it shall be.
    pub word: [u8; 2],
    /// Offset of the header checksum in the frame, and its new value; offset 0 where the family has none.
    pub checksum: (usize, [u8; 2]),
}

/// One hop less (RFC 1812 section 5.3.1, RFC 8200 section 3), or none where the frame is cut short. The limit must not be 0.
#[inline(always)]
pub fn hop<A: Parse>(octets: &(impl Octets + ?Sized)) -> Option<HopEdits> {
    let at = ETHERNET + (A::HOP_LIMIT & !1);
    let old = octets.read::<2>(at)?;
    let word = if A::HOP_LIMIT.is_multiple_of(2) {
        [old[0].wrapping_sub(1), old[1]]
    } else {
        [old[0], old[1].wrapping_sub(1)]
    };
    let checksum = match A::HEADER_CHECKSUM {
        Some(checksum) => {
            let at = ETHERNET + checksum;
            let difference = checksum::difference(checksum::word(old), checksum::word(word));
            (at, checksum::update(octets.read::<2>(at)?, difference))
        }
        None => (0, [0; 2]),
    };
    Some(HopEdits { at, word, checksum })
}
