//! A way of a bucket: where it is, and its fields, which other CPUs may write at the same time.

use core::mem::offset_of;
use core::ptr;

use super::status::Status;
use super::{Aligned, Bucket, Rest, WAYS, Way, Words};
use crate::addr::Address;
use crate::conntrack::{ConntrackKey, Direction, Flow};

/// The largest number of three bits. One past the last way is inside of the bucket as well, so no verifier asks for a closer bound.
const MOST: usize = 7;

const _: () = {
    const fn is_within<A>(at: usize, size: usize) -> bool {
        at + (MOST + 1) * size <= size_of::<Bucket<A>>()
    }
    const fn are_within<A>() -> bool {
        is_within::<A>(offset_of!(Bucket<A>, tags), size_of::<u64>())
            && is_within::<A>(offset_of!(Bucket<A>, ways), size_of::<Aligned<A>>())
            && is_within::<A>(offset_of!(Bucket<A>, rests), size_of::<Rest>())
    }
    assert!(WAYS <= MOST && are_within::<[u8; 4]>() && are_within::<[u8; 16]>());
};

#[inline(always)]
pub(super) fn tags<A>(bucket: *mut Bucket<A>) -> *mut u64 {
    bucket.cast()
}

#[inline(always)]
pub(super) fn ways<A>(bucket: *mut Bucket<A>) -> *mut Aligned<A> {
    bucket.wrapping_byte_add(offset_of!(Bucket<A>, ways)).cast()
}

#[inline(always)]
fn rests<A>(bucket: *mut Bucket<A>) -> *mut Rest {
    bucket
        .wrapping_byte_add(offset_of!(Bucket<A>, rests))
        .cast()
}

/// The tag of a way, by a number that was found; as the next three.
#[inline(always)]
pub(super) fn tag_at<A, W: Words>(bucket: *mut Bucket<A>, way: usize) -> *mut u64 {
    W::nth::<MOST, _>(tags(bucket), way)
}

#[inline(always)]
pub(super) fn way_at<A, W: Words>(bucket: *mut Bucket<A>, way: usize) -> *mut Way<A> {
    W::nth::<MOST, _>(ways(bucket), way).cast()
}

/// The status is its way's first word.
#[inline(always)]
pub(super) fn status_at<A, W: Words>(bucket: *mut Bucket<A>, way: usize) -> *mut u64 {
    way_at::<A, W>(bucket, way).cast()
}

#[inline(always)]
fn rest_at<A, W: Words>(bucket: *mut Bucket<A>, way: usize) -> *mut Rest {
    W::nth::<MOST, _>(rests(bucket), way)
}

// Fields of a way are read while other CPUs may write there: a reader's tag tells. Volatile, so that each is read once and whole,
// and addresses word by word, for octets would be read one by one.

#[inline(always)]
pub(super) unsafe fn read<T: Copy>(field: *const T) -> T {
    // SAFETY: by the caller.
    unsafe { ptr::read_volatile(field) }
}

#[inline(always)]
unsafe fn put<T: Copy>(field: *mut T, value: T) {
    // SAFETY: by the caller.
    unsafe { ptr::write_volatile(field, value) }
}

/// Copies an address. Both are in structs of words.
#[inline(always)]
pub(super) unsafe fn copy_address<A: Address>(from: *const A, to: *mut A) {
    let (from, to) = (from.cast::<u32>(), to.cast::<u32>());
    let mut word = 0;
    while word < A::OCTETS / 4 {
        // SAFETY: by the caller.
        unsafe { put(to.add(word), read(from.add(word))) };
        word += 1;
    }
}

/// `so_far`, and the bits by which two numbers differ.
#[inline(always)]
unsafe fn apart<W: Words, T: Copy + Into<u64>>(so_far: u64, one: *const T, other: *const T) -> u64 {
    // SAFETY: by the caller.
    unsafe { W::apart(so_far, read(one).into(), read(other).into()) }
}

/// `so_far`, and the bits by which two addresses differ. Both are in structs of words.
#[inline(always)]
unsafe fn addresses_apart<A: Address, W: Words>(
    mut so_far: u64,
    one: *const A,
    other: *const A,
) -> u64 {
    let (one, other) = (one.cast::<u32>(), other.cast::<u32>());
    let mut word = 0;
    while word < A::OCTETS / 4 {
        // SAFETY: by the caller.
        so_far = unsafe { apart::<W, _>(so_far, one.add(word), other.add(word)) };
        word += 1;
    }
    so_far
}

// Without a branch between the parts: from each, the verifier would walk on once more.

/// How far behind the frontend is what a packet is compared with, in addresses and in ports: 0 of a client's, which has the frontend
/// as its peer, 1 of a backend's.
#[inline(always)]
pub(super) fn side_of<A: Address>(key: &ConntrackKey<A>) -> usize {
    const {
        assert!(offset_of!(Way<A>, backend) == offset_of!(Way<A>, frontend) + size_of::<A>());
        assert!(offset_of!(Way<A>, backend_port) == offset_of!(Way<A>, frontend_port) + 2);
        assert!(Direction::FromClient as u8 == 0 && Direction::FromBackend as u8 == 1);
    }
    // SAFETY: a field of a reference.
    usize::from(unsafe { read(&raw const key.direction) } & 1)
}

/// The frontend's or the backend's, by their [side](side_of).
#[inline(always)]
pub(super) fn nth_of<W: Words, T>(frontends: *const T, side: usize) -> *const T {
    W::nth::<1, _>(frontends.cast_mut(), side)
}

/// Whether a packet belongs to the flow of a way.
#[inline(always)]
pub(super) unsafe fn is_found_by<A: Address, W: Words>(
    row: *const Way<A>,
    key: &ConntrackKey<A>,
) -> bool {
    // SAFETY: by the caller.
    unsafe {
        let side = side_of(key);
        let peer = nth_of::<W, _>(&raw const (*row).frontend, side);
        let port = nth_of::<W, _>(&raw const (*row).frontend_port, side);
        let mut so_far =
            apart::<W, _>(0, &raw const (*row).client_port, &raw const key.client_port);
        so_far = apart::<W, _>(so_far, port, &raw const key.peer_port);
        so_far = apart::<W, _>(so_far, &raw const (*row).protocol, &raw const key.protocol);
        so_far = addresses_apart::<A, W>(so_far, peer, &raw const key.peer);
        addresses_apart::<A, W>(so_far, &raw const (*row).client, &raw const key.client) == 0
    }
}

/// Whether the flow of a way is the same connection, through the same frontend.
#[inline(always)]
pub(super) unsafe fn is_of<A: Address, W: Words>(row: *const Way<A>, flow: &Flow<A>) -> bool {
    // SAFETY: by the caller.
    unsafe {
        let mut so_far = apart::<W, _>(
            0,
            &raw const (*row).client_port,
            &raw const flow.client_port,
        );
        so_far = apart::<W, _>(
            so_far,
            &raw const (*row).frontend_port,
            &raw const flow.frontend_port,
        );
        so_far = apart::<W, _>(so_far, &raw const (*row).protocol, &raw const flow.protocol);
        so_far =
            addresses_apart::<A, W>(so_far, &raw const (*row).frontend, &raw const flow.frontend);
        addresses_apart::<A, W>(so_far, &raw const (*row).client, &raw const flow.client) == 0
    }
}

/// Copies the flow of a way.
#[inline(always)]
pub(super) unsafe fn copy<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    way: usize,
    into: &mut Flow<A>,
) {
    // SAFETY: by the caller.
    unsafe {
        let (row, rest) = (way_at::<A, W>(bucket, way), rest_at::<A, W>(bucket, way));
        let status = Status(W::load(status_at::<A, W>(bucket, way)));
        into.state = status.state().bits();
        into.last_seen = status.last_seen();
        copy_address(&raw const (*row).client, &raw mut into.client);
        copy_address(&raw const (*row).frontend, &raw mut into.frontend);
        copy_address(&raw const (*row).backend, &raw mut into.backend);
        into.client_port = read(&raw const (*row).client_port);
        into.source_port = into.client_port;
        into.frontend_port = read(&raw const (*row).frontend_port);
        into.backend_port = read(&raw const (*row).backend_port);
        into.protocol = read(&raw const (*row).protocol);
        into.reserved = 0;
        into.backend_id = read(&raw const (*rest).backend_id);
        into.service_id = read(&raw const (*rest).service_id);
        into.epoch = read(&raw const (*rest).epoch);
        into.previous_id = read(&raw const (*rest).previous_id);
    }
}

/// Writes a flow to a way that is claimed.
#[inline(always)]
pub(super) unsafe fn write<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    way: usize,
    flow: &Flow<A>,
    generation: u16,
) {
    // SAFETY: by the caller.
    unsafe {
        let (row, rest) = (way_at::<A, W>(bucket, way), rest_at::<A, W>(bucket, way));
        put(
            status_at::<A, W>(bucket, way),
            Status::new(flow, generation).0,
        );
        copy_address(&raw const flow.client, &raw mut (*row).client);
        copy_address(&raw const flow.frontend, &raw mut (*row).frontend);
        copy_address(&raw const flow.backend, &raw mut (*row).backend);
        put(&raw mut (*row).client_port, flow.client_port);
        put(&raw mut (*row).frontend_port, flow.frontend_port);
        put(&raw mut (*row).backend_port, flow.backend_port);
        put(&raw mut (*row).protocol, flow.protocol);
        put(&raw mut (*rest).backend_id, flow.backend_id);
        put(&raw mut (*rest).service_id, flow.service_id);
        put(&raw mut (*rest).epoch, flow.epoch);
        put(&raw mut (*rest).previous_id, flow.previous_id);
    }
}
