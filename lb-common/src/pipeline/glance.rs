//! The first step: most packets of a node are for no Service, and their addresses tell. So these alone are read of a packet, and
//! the rest only where that leaves the question open.

use super::unallocated;
use crate::addr::Protocol;
use crate::packet::{Octets, Packet, Parse, Transport};

/// What is known of an address by itself.
pub trait Addresses {
    /// The address family.
    type Address: Parse;

    /// Whether an address may be a VIP; a false yes costs a lookup, a false no would lose a Service.
    fn may_be_vip(&self, address: &Self::Address) -> bool;
    /// Whether an address is one of those that Services get.
    fn is_in_service_cidr(&self, address: &Self::Address) -> bool;
    /// Whether a Service has the address though it is not served here: another proxy may serve it, or there is no room for it.
    fn is_unserved(&self, address: &Self::Address) -> bool;
    /// Whether a flow may have a backend of this address; a false yes costs lookups, a false no would lose its answers.
    fn may_be_backend(&self, address: &Self::Address) -> bool;
}

/// What a packet is at first sight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// Maybe a Service's: it is to be read, and decided on by [`from_workload`](super::from_workload) or
    /// [`to_workload`](super::to_workload).
    Service,
    /// Nothing that can be read: it goes on untouched, and is counted as [`Malformed`](crate::reason::Reason::Malformed).
    Malformed,
    /// No Service's, whatever else stands in it: it goes on untouched and uncounted
    /// ([`NotForService`](crate::reason::Reason::NotForService)).
    Other,
    /// For an address of a Service CIDR that no Service has: it is dropped, and counted as
    /// [`Unallocated`](crate::reason::Reason::Unallocated).
    Nobody,
}

/// What a packet is that leaves a pod. Its IP header starts at offset `l3`.
#[inline(always)]
pub fn from_workload<D: Addresses>(dp: &D, octets: &(impl Octets + ?Sized), l3: usize) -> Sight {
    let Some(glance) = D::Address::glance(octets, l3) else {
        return Sight::Malformed;
    };
    if dp.may_be_vip(&glance.destination) {
        Sight::Service
    } else if unallocated::is_unallocated(dp, &glance.destination) {
        Sight::Nobody
    } else {
        Sight::Other
    }
}

/// What a packet is that reaches a pod. Its IP header starts at offset `l3`.
///
/// An ICMP error comes from any router, and behind extension headers there may be one.
#[inline(always)]
pub fn to_workload<D: Addresses>(dp: &D, octets: &(impl Octets + ?Sized), l3: usize) -> Sight {
    let Some(glance) = D::Address::glance(octets, l3) else {
        return Sight::Malformed;
    };
    if Protocol::from_number(glance.next).is_none() || dp.may_be_backend(&glance.source) {
        Sight::Service
    } else {
        Sight::Other
    }
}

/// Whether [`to_workload`] takes a packet that was read, and maybe translated since, for one that may be a Service's.
#[inline(always)]
pub fn may_be_answer<D: Addresses>(dp: &D, packet: &Packet<D::Address>) -> bool {
    match packet.transport {
        Transport::Tcp(..) | Transport::Udp(..) | Transport::Sctp(..) => {
            dp.may_be_backend(&packet.source)
        }
        _ => true,
    }
}
