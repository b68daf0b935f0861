//! The filter that spares most packets to a pod every lookup: "may a flow have a backend of this address?".
//!
//! The data plane marks a backend's address before it enters a flow to it, and nobody ever takes a mark away: while a flow is
//! known, its backend is marked, whatever has become of the backend and of the agent. The map is pinned beside the flows'. What
//! nobody speaks to any more costs its packets the lookups that all would cost without the filter, and nothing else.
//!
//! A mark is an octet, not a bit, for octets are stored by themselves: CPUs that mark at the same time lose none.

use crate::addr::Address;

/// Number of marks. A thousand backends that a node's pods spoke to set 0.2 % of them.
pub const MARKS: u32 = 1 << 19;

/// How many of them an element of the map has: a line of a core's cache.
pub const MARKS_PER_ELEMENT: u32 = 64;

/// Number of elements of the map.
pub const ELEMENTS: u32 = MARKS / MARKS_PER_ELEMENT;

/// The mark of an address, below [`MARKS`]. Both families share the filter.
///
/// The hash has no secret: whoever collides with a backend only makes its own packets pay for lookups.
#[inline(always)]
pub fn mark<A: Address>(address: &A) -> u32 {
    (address.fold().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - MARKS.trailing_zeros())) as u32
}

/// Index of the element that has a mark, and the mark's place in it.
#[inline(always)]
pub fn element_and_place(mark: u32) -> (u32, u32) {
    (mark / MARKS_PER_ELEMENT, mark % MARKS_PER_ELEMENT)
}
