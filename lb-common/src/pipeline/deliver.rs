//! The redirect path: whether a packet that comes from a pod goes straight into another pod of the node or straight out towards
//! one of another node, whether one that comes from there goes straight into its pod; and what the host's stack would have
//! done to it on the way.
//!
//! The question is asked once the packet has the destination that it shall have. Wherever the host's stack might do more
//! than hand the packet on, it gets the packet, and that is counted: it sends the ICMP errors, joins and makes fragments,
//! reads options, judges sources.

use crate::checksum;
use crate::packet::{ETHERNET, Fragment, Octets, Packet, Parse, Transport};
use crate::reason::Reason;
use crate::redirect::{LocalPod, RemotePods};

/// Where pods are known.
pub trait Pods {
    /// The address family.
    type Address: Parse;
    /// The pod of this node that has the address.
    fn local_pod(&self, address: &Self::Address) -> Option<LocalPod>;
    /// The way to the pods of another node of which the address may be one. Where the host's stack alone knows it, there is
    /// none.
    fn remote_pods(&self, address: &Self::Address) -> Option<RemotePods<Self::Address>>;
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
    /// Out of the uplink, a hop further.
    Out,
}

/// How a packet goes on, and why. No enum with data, for the same reason as [`Verdict`](super::Verdict).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery<A> {
    /// How.
    pub way: Way,
    /// Why; [`Reason::NotForService`] where the destination is no pod that is known, which is not counted.
    pub reason: Reason,
    /// The pod; all zeros unless it is one of this node.
    pub pod: LocalPod,
    /// The way out; all zeros unless the way is [`Way::Out`].
    pub out: RemotePods<A>,
}

impl<A: Parse> Delivery<A> {
    #[inline(always)]
    fn into(pod: LocalPod, way: Way, obstacle: Option<Reason>) -> Self {
        let (way, reason) = match obstacle {
            Some(reason) => (Way::Stack, reason),
            None => (way, Reason::Delivered),
        };
        Self {
            way,
            reason,
            pod,
            out: RemotePods::unknown(),
        }
    }

    #[inline(always)]
    fn out(out: RemotePods<A>, obstacle: Option<Reason>) -> Self {
        let (way, reason) = match obstacle {
            Some(reason) => (Way::Stack, reason),
            None => (Way::Out, Reason::Sent),
        };
        Self {
            way,
            reason,
            pod: LocalPod::new(0, [0; 6], [0; 6]),
            out,
        }
    }

    #[inline(always)]
    fn unknown() -> Self {
        Self::out(RemotePods::unknown(), Some(Reason::NotForService))
    }
}

/// Decides how a packet from a pod goes on. `packet` is what it is after its rewrite.
#[inline(always)]
pub fn from_pod<P: Pods>(
    pods: &P,
    packet: &Packet<P::Address>,
    arrival: &Arrival,
) -> Delivery<P::Address> {
    let Some(pod) = pods.local_pod(&packet.destination) else {
        return towards_another_node(pods, packet, arrival);
    };
    // A device can't send to itself; a hairpin's second translation is at its egress.
    if pod.ifindex() == arrival.ifindex {
        return Delivery::into(pod, Way::Stack, Some(Reason::StackHairpin));
    }
    let obstacle = in_headers(packet).or_else(|| match sender(pods, packet, arrival) {
        None => Some(Reason::StackSource),
        Some(_) if arrival.destination == pod.mac() => None,
        Some(_) => on_the_hop(arrival, arrival.destination == pod.node_mac()),
    });
    let way = if arrival.destination == pod.mac() {
        Way::Bridged
    } else {
        Way::Routed
    };
    Delivery::into(pod, way, obstacle)
}

#[inline(always)]
fn towards_another_node<P: Pods>(
    pods: &P,
    packet: &Packet<P::Address>,
    arrival: &Arrival,
) -> Delivery<P::Address> {
    let Some(out) = pods.remote_pods(&packet.destination) else {
        return Delivery::unknown();
    };
    let obstacle = in_headers(packet).or_else(|| match sender(pods, packet, arrival) {
        None => Some(Reason::StackSource),
        Some(sender) => on_the_hop(arrival, arrival.destination == sender.node_mac()),
    });
    Delivery::out(out, obstacle)
}

/// Decides how a packet that comes in by an uplink goes on.
#[inline(always)]
pub fn from_uplink<P: Pods>(
    pods: &P,
    packet: &Packet<P::Address>,
    arrival: &Arrival,
) -> Delivery<P::Address> {
    let Some(pod) = pods.local_pod(&packet.destination) else {
        return Delivery::unknown();
    };
    let obstacle = in_headers(packet).or_else(|| match pods.remote_pods(&packet.source) {
        // By the way that leads back to it: what a strict reverse path filter demands (RFC 3704).
        Some(back) if back.ifindex() == arrival.ifindex => on_the_hop(arrival, false),
        _ => Some(Reason::StackOutside),
    });
    Delivery::into(pod, Way::Routed, obstacle)
}

/// What the stack reads in a packet beyond its addresses.
#[inline(always)]
fn in_headers<A: Parse>(packet: &Packet<A>) -> Option<Reason> {
    let is_plain = packet.l4 - packet.l3 == A::HEADER
        && packet.fragment == Fragment::WHOLE
        && packet.transport != Transport::IcmpError;
    (!is_plain).then_some(Reason::StackHeaders)
}

/// The pod that has sent the packet. Who sends from an address that is not its own is for the stack to judge (reverse path
/// filter, RFC 3704).
#[inline(always)]
fn sender<P: Pods>(pods: &P, packet: &Packet<P::Address>, arrival: &Arrival) -> Option<LocalPod> {
    let sender = pods.local_pod(&packet.source)?;
    (sender.ifindex() == arrival.ifindex).then_some(sender)
}

/// Whether the node is asked to route the packet, by the device's address or another one of its own, and it may go a hop further.
#[inline(always)]
fn on_the_hop(arrival: &Arrival, is_for_node: bool) -> Option<Reason> {
    if !arrival.is_for_device && !is_for_node {
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
