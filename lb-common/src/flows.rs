//! A set-associative table of flows in plain memory, which all CPUs read and write without a lock.
//!
//! A hash of the client's address, port and protocol chooses a bucket, so a flow has one entry, found from both sides: a packet
//! from the client compares the frontend, one from the backend compares the backend. A bucket has [`WAYS`] ways, and a tag for each.
//!
//! A writer claims a way by compare-and-swap on its tag, writes the flow and publishes the tag. A reader copies the flow and looks
//! at the tag again. What changes in the life of a flow, its [state and stamp](status::Status), is one word, changed by
//! compare-and-swap alone; all else is written once.
//!
//! The table never displaces a flow that is in use for one that begins. What has no place in its bucket goes to another table, and
//! the bucket remembers that: see [`Tiered`].
//!
//! The order of reads is the hardware's: right where loads are not reordered with loads (x86-64), and used only there.

mod bucket;
#[cfg(any(test, feature = "std"))]
mod host;
mod status;
mod tiered;
mod way;

use crate::addr::Address;
use crate::conntrack::{ConntrackKey, Flow};
use crate::hash::flow_hash;
use crate::layout::map_type;
pub use bucket::{
    Absent, NoRoom, Stored, find, find_ports, insert, is_spilled, peek, remove, spill, update,
};
#[cfg(any(test, feature = "std"))]
pub use host::{Memory, each};
pub use tiered::{Near, Sought, Tiered};

/// Ways of a bucket: with what the bucket itself remembers, their tags fill a cache line.
pub const WAYS: usize = 7;

map_type! {
    /// What packets of a known flow need of it, in a way of a bucket, in `flows_v4` and `flows_v6`. The first eight octets are its
    /// [status](status::Status); with them it is half a cache line, and a whole one of IPv6.
    pub struct Way<A> {
        last_seen: u32,
        state: u8,
        lasting: u8,
        generation: u16,
        client: A,
        frontend: A,
        backend: A,
        client_port: u16,
        frontend_port: u16,
        backend_port: u16,
        protocol: u8,
        reserved: u8,
    }
}

map_type! {
    /// The rest of a flow, of which most packets need nothing.
    pub struct Rest {
        backend_id: u32,
        service_id: u32,
        epoch: u32,
        previous_id: u32,
    }
}

/// A way at an address from where it reaches into no further line.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
pub struct Aligned<A>(Way<A>);

/// A bucket: element of `flows_v4` and `flows_v6`. Zeros are an empty one.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Bucket<A> {
    /// What is in each way: see [`Tag`].
    tags: [u64; WAYS],
    /// Not 0 where a flow of this bucket may be in the other table.
    spilled: u64,
    ways: [Aligned<A>; WAYS],
    rests: [Rest; WAYS],
}

#[cfg(any(test, feature = "std"))]
impl<A: Address> Bucket<A> {
    /// A bucket without flows.
    pub fn empty() -> Self {
        bytemuck::Zeroable::zeroed()
    }
}

// SAFETY: zeros are an empty bucket.
#[cfg(any(test, feature = "std"))]
unsafe impl<A: Address> bytemuck::Zeroable for Bucket<A> {}

/// Words that other CPUs read and write.
pub trait Words {
    /// Reads a word as it is now.
    ///
    /// # Safety
    /// The word is valid and aligned.
    unsafe fn load(word: *const u64) -> u64;
    /// Writes a word after all that was written before.
    ///
    /// # Safety
    /// As for [`Words::load`].
    unsafe fn store(word: *mut u64, value: u64);
    /// Writes a word if it still is `from`, and says whether it was; all before stays before, all after comes after.
    ///
    /// # Safety
    /// As for [`Words::load`].
    unsafe fn swap(word: *mut u64, from: u64, to: u64) -> bool;
    /// The element of an array by its number, which is at most `MOST`, one less than a power of two. Bound and use are one piece.
    fn nth<const MOST: usize, T>(first: *mut T, number: usize) -> *mut T;
    /// The same number, of which a compiler knows nothing: it would make branches of arithmetic.
    fn opaque(value: u64) -> u64;
    /// `so_far`, and the bits by which two numbers differ; as opaque.
    fn apart(so_far: u64, one: u64, other: u64) -> u64;
}

/// The word that says what is in a way: 48 bits of the flow's hash, the first of which is set, or 0 where there is none; one bit
/// that is set while the flow is written; and 15 bits of a generation, which each flow in this way increments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tag(u64);

impl Tag {
    const GENERATION_BITS: u32 = 15;
    const GENERATION: u64 = (1 << Self::GENERATION_BITS) - 1;
    const BUSY: u64 = 1 << Self::GENERATION_BITS;
    const HASH: u64 = !0xffff;
    /// Set in every hash.
    const THERE: u64 = 1 << 63;

    /// The bits of a hash that a tag has.
    #[inline(always)]
    fn hash(hash: u64) -> u64 {
        (hash & Self::HASH) | Self::THERE
    }

    /// Whether the way has a flow of this hash that is not being written.
    #[inline(always)]
    fn has(self, hash: u64) -> bool {
        self.0 & !Self::GENERATION == hash
    }

    /// Whether the way has a flow that is not being written.
    #[cfg(any(test, feature = "std"))]
    fn is_there(self) -> bool {
        self.0 & Self::THERE != 0 && !self.is_busy()
    }

    #[inline(always)]
    fn is_busy(self) -> bool {
        self.0 & Self::BUSY != 0
    }

    /// The tag of the flow that comes next, or of none where `hash` is 0.
    #[inline(always)]
    fn next(self, hash: u64) -> Self {
        Self(hash | (self.0.wrapping_add(1) & Self::GENERATION))
    }

    #[inline(always)]
    fn generation(self) -> u16 {
        (self.0 & Self::GENERATION) as u16
    }
}

/// The hash of a packet's flow: of its client's address, port and protocol.
#[inline(always)]
pub fn hash_of_key<A: Address>(secret: u64, key: &ConntrackKey<A>) -> u64 {
    flow_hash(secret, &key.client, key.client_port, key.protocol)
}

/// The hash of a flow whose client has this port: its own, or the one that the backend sees.
#[inline(always)]
pub fn hash_of_flow<A: Address>(secret: u64, flow: &Flow<A>, client_port: u16) -> u64 {
    flow_hash(secret, &flow.client, client_port, flow.protocol)
}

/// How many buckets have room for so many flows: a power of two.
pub const fn buckets(flows: u32) -> u32 {
    flows.div_ceil(WAYS as u32).next_power_of_two()
}

/// The bucket of a hash in a table of `buckets`, a power of two.
#[inline(always)]
pub const fn index(hash: u64, buckets: u32) -> u32 {
    hash as u32 & buckets.wrapping_sub(1)
}

const _: () = assert!(cfg!(target_endian = "little"));
const _: () = assert!(size_of::<Bucket<[u8; 4]>>() == 448 && size_of::<Bucket<[u8; 16]>>() == 640);

#[cfg(test)]
mod tests;
