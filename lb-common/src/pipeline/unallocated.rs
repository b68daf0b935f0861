//! Packets to an address of a Service CIDR that no Service has (S-30 d): dropped, for whoever took them would be a router, and
//! some hand them back.
//!
//! It is asked last, where nothing else knows the address.

use super::{Dataplane, Verdict};
use crate::reason::Reason;

/// Decides on a packet to what is no VIP.
#[inline(always)]
pub(super) fn from_workload<D: Dataplane>(dp: &D, to: &D::Address) -> Verdict<D::Address> {
    if is_unallocated(dp, to) {
        Verdict::drop(Reason::Unallocated)
    } else {
        Verdict::pass(Reason::NotForService)
    }
}

/// Whether an address without a frontend is one that a Service could have and none has.
#[inline(always)]
pub(super) fn is_unallocated<D: Dataplane>(dp: &D, address: &D::Address) -> bool {
    dp.is_in_service_cidr(address) && !dp.is_unserved(address)
}
