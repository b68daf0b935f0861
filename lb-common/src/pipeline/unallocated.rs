//! Packets to an address of a Service CIDR that no Service has (S-30 d): dropped, for whoever took them would be a router, and
//! some hand them back.
//!
//! It is asked last, where nothing else knows the address.

use super::glance::Addresses;

/// Whether an address without a frontend is one that a Service could have and none has.
#[inline(always)]
pub(super) fn is_unallocated<D: Addresses>(dp: &D, address: &D::Address) -> bool {
    dp.is_in_service_cidr(address) && !dp.is_unserved(address)
}
