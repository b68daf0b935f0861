//! What is done in a bucket.
//!
//! The loops are written for the kernel's verifier: of fixed length, with few ways through.

use super::status::Status;
use super::way::{
    copy, copy_address, is_found_by, is_of, nth_of, read, side_of, status_at, tag_at, tags, way_at,
    ways, write,
};
use super::{Aligned, Bucket, Tag, WAYS, Words};
use crate::addr::Address;
use crate::conntrack::{ConntrackKey, Flow, Peek, Peeked};

/// There is no way for the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

/// What it took to store a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// A place that nobody needed.
    Freely,
    /// The place of a flow that was not assured, and that nobody had ended.
    Displacing,
}

/// The bucket does not have the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Absent;

/// How often a status is tried that other CPUs write at the same time.
const TRIES: u32 = 4;

/// Lists of ways by their numbers, from 1, the first one in the lowest three bits; 0 is none.
#[derive(Clone, Copy)]
struct Scan {
    with_hash: u64,
    empty: u64,
}

impl Scan {
    /// The first way with the hash that was looked for.
    #[inline(always)]
    fn first(self) -> u64 {
        self.with_hash & 7
    }

    /// The second one. A client's port with a third flow in the bucket has that in the other table.
    #[inline(always)]
    fn second(self) -> u64 {
        (self.with_hash >> 3) & 7
    }

    /// The first empty one.
    #[inline(always)]
    fn empty(self) -> u64 {
        self.empty & 7
    }
}

/// 1 where `value` is 0, else 0, without a branch.
#[inline(always)]
fn is_zero<W: Words>(value: u64) -> u64 {
    W::opaque((value | W::opaque(value.wrapping_neg())) >> 63) ^ 1
}

/// `one` where `which` is 1, `other` where it is 0, without a branch.
#[inline(always)]
fn select(which: u64, one: u64, other: u64) -> u64 {
    other ^ ((one ^ other) & which.wrapping_neg())
}

/// Whether each way is in a line of its own. Where several share one, most flows are in the line after the tags, which processors
/// bring unasked.
const fn has_line<A>() -> bool {
    size_of::<Aligned<A>>() >= 64
}

/// The way that a flow is put into where that is empty. Which one it is can be told without the tags, so that what a packet is
/// compared with is brought from memory while they are.
#[inline(always)]
const fn preferred(hash: u64) -> usize {
    // The lowest bits say which bucket.
    ((((hash >> 32) & 0xffff) * WAYS as u64) >> 16) as usize
}

/// Has the preferred way brought near, and waits for nothing.
///
/// # Safety
/// The bucket is valid.
#[inline(always)]
unsafe fn touch<A: Address, W: Words>(bucket: *mut Bucket<A>, hash: u64) {
    if has_line::<A>() {
        // SAFETY: the caller's bucket is valid.
        unsafe { W::load(status_at::<A, W>(bucket, preferred(hash))) };
    }
}

/// Looks at all tags. There is one way through, so that the verifier goes through it once.
///
/// # Safety
/// The bucket is valid.
#[inline(always)]
unsafe fn scan<A: Address, W: Words>(bucket: *mut Bucket<A>, hash: u64) -> Scan {
    let (mut with_hash, mut empty) = (0, 0);
    let mut number = WAYS as u64;
    while number > 0 {
        // SAFETY: the caller's bucket is valid, and so are its words.
        let tag = unsafe { W::load(tags(bucket).add(number as usize - 1)) };
        // What is shifted out is the generation, and whether the way is written to; only of 0 is the number below negative.
        let difference = (tag ^ hash) >> (Tag::GENERATION_BITS + 1);
        let has = W::opaque(difference.wrapping_sub(1) >> 63);
        let is_empty = W::opaque(!tag >> 63);
        with_hash = (with_hash << (3 * has)) | (number * has);
        empty = (empty << (3 * is_empty)) | (number * is_empty);
        number -= 1;
    }
    Scan { with_hash, empty }
}

/// The way that is the one, or [`WAYS`], and what was seen of the bucket. No more than two ways with the hash are asked.
///
/// # Safety
/// The bucket is valid.
#[inline(always)]
unsafe fn seek<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    hash: u64,
    mut is_it: impl FnMut(usize) -> bool,
) -> (usize, Scan) {
    // SAFETY: the caller's bucket is valid.
    let scan = unsafe { scan::<A, W>(bucket, hash) };
    let mut number = scan.first();
    let mut tries = 0;
    while tries < 2 {
        let way = number.wrapping_sub(1) as usize;
        if way >= WAYS {
            break;
        }
        if is_it(way) {
            return (way, scan);
        }
        number = scan.second();
        tries += 1;
    }
    (WAYS, scan)
}

/// Copies the flow of a packet to `into`, and returns whether there is one. `hash` is the flow's whole hash. What `into` holds is
/// meaningless where there is none.
///
/// # Safety
/// The bucket is valid.
#[inline(always)]
pub unsafe fn find<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    hash: u64,
    key: &ConntrackKey<A>,
    into: &mut Flow<A>,
) -> bool {
    let tagged = Tag::hash(hash);
    let mut tag = Tag(0);
    // SAFETY: the caller's bucket is valid.
    unsafe {
        touch::<A, W>(bucket, hash);
        let (way, _) = seek::<A, W>(bucket, tagged, |way| {
            tag = Tag(W::load(tag_at::<A, W>(bucket, way)));
            tag.has(tagged) && is_found_by::<A, W>(way_at::<A, W>(bucket, way), key)
        });
        if way >= WAYS {
            return false;
        }
        copy::<A, W>(bucket, way, into);
        W::load(tag_at::<A, W>(bucket, way)) == tag.0
    }
}

/// Sets the frontend's and the client's own port of `into` to those of a packet's flow, and returns whether there is one.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
pub unsafe fn find_ports<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    hash: u64,
    key: &ConntrackKey<A>,
    into: &mut Flow<A>,
) -> bool {
    // SAFETY: the caller's bucket is valid.
    unsafe {
        touch::<A, W>(bucket, hash);
        let tagged = Tag::hash(hash);
        let (way, _) = seek::<A, W>(bucket, tagged, |way| {
            Tag(W::load(tag_at::<A, W>(bucket, way))).has(tagged)
                && is_found_by::<A, W>(way_at::<A, W>(bucket, way), key)
        });
        if way >= WAYS {
            return false;
        }
        let row = way_at::<A, W>(bucket, way);
        into.frontend_port = read(&raw const (*row).frontend_port);
        into.client_port = read(&raw const (*row).client_port);
        true
    }
}

/// Copies what a packet's flow leads to, where that is the only one of the client's port in the bucket.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
pub unsafe fn peek<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    hash: u64,
    key: &ConntrackKey<A>,
    into: &mut Peek<A>,
) -> Peeked {
    let tagged = Tag::hash(hash);
    // SAFETY: the caller's bucket is valid.
    unsafe {
        touch::<A, W>(bucket, hash);
        let scan = scan::<A, W>(bucket, tagged);
        let way = scan.first().wrapping_sub(1) as usize;
        if way >= WAYS {
            return unless_spilled::<A, W>(bucket);
        }
        let tag = Tag(W::load(tag_at::<A, W>(bucket, way)));
        let row = way_at::<A, W>(bucket, way);
        if !tag.has(tagged) {
            return Peeked::Unsaid;
        }
        if !is_found_by::<A, W>(row, key) {
            // What was compared may be of a flow that was written meanwhile.
            let is_other = W::load(tag_at::<A, W>(bucket, way)) == tag.0;
            return if is_other && scan.second() == 0 {
                unless_spilled::<A, W>(bucket)
            } else {
                Peeked::Unsaid
            };
        }
        let other = 1 - side_of(key);
        let status = Status(W::load(status_at::<A, W>(bucket, way)));
        into.state = status.state().bits();
        into.last_seen = status.last_seen();
        copy_address(
            nth_of::<W, _>(&raw const (*row).frontend, other),
            &raw mut into.address,
        );
        into.port = read(nth_of::<W, _>(&raw const (*row).frontend_port, other));
        if W::load(tag_at::<A, W>(bucket, way)) == tag.0 {
            Peeked::Known
        } else {
            Peeked::Unsaid
        }
    }
}

/// What is known of a flow that the bucket does not have.
#[inline(always)]
unsafe fn unless_spilled<A: Address, W: Words>(bucket: *mut Bucket<A>) -> Peeked {
    // SAFETY: the caller's bucket is valid.
    if unsafe { is_spilled::<A, W>(bucket) } {
        Peeked::Unsaid
    } else {
        Peeked::Unknown
    }
}

/// The way of a connection, or [`WAYS`], and what was seen of the bucket.
#[inline(always)]
unsafe fn way_of<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    hash: u64,
    flow: &Flow<A>,
) -> (usize, Scan) {
    // SAFETY: the caller's bucket is valid.
    unsafe {
        seek::<A, W>(bucket, hash, |way| {
            is_of::<A, W>(way_at::<A, W>(bucket, way), flow)
        })
    }
}

/// Stores a flow: in the way that has the same connection, in an empty one, or in that of the flow that can be spared best.
///
/// # Errors
/// Where every flow of the bucket is in use, or the client's port has two flows there.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
pub unsafe fn insert<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    hash: u64,
    flow: &Flow<A>,
    ticks_per_second: u32,
) -> Result<Stored, NoRoom> {
    let preferred = preferred(hash);
    let hash = Tag::hash(hash);
    // SAFETY: the caller's bucket is valid.
    unsafe {
        let (mut way, scan) = way_of::<A, W>(bucket, hash, flow);
        let is_there = way < WAYS;
        let mut displaces = 0;
        let mut stored = Stored::Freely;
        if !is_there {
            if scan.second() != 0 {
                return Err(NoRoom);
            }
            // What another CPU enters this moment may be this flow. It would be there twice.
            let first = scan.first().wrapping_sub(1) as usize;
            if first < WAYS && Tag(W::load(tag_at::<A, W>(bucket, first))).is_busy() {
                return Err(NoRoom);
            }
            let mut number = scan.empty();
            if has_line::<A>() {
                let tag = W::load(tag_at::<A, W>(bucket, preferred));
                // Or another CPU has begun to since the scan.
                if scan.first() == 0 && tag & Tag::HASH == hash {
                    return Err(NoRoom);
                }
                number = select(W::opaque(tag >> 63), number, preferred as u64 + 1);
            }
            if number == 0 {
                number = spared::<A, W>(bucket, flow.last_seen(), ticks_per_second);
                displaces = 1;
            }
            way = number.wrapping_sub(1) as usize;
            if way >= WAYS {
                return Err(NoRoom);
            }
        }
        let at = tag_at::<A, W>(bucket, way);
        let before = Tag(W::load(at));
        // Another CPU may have put another flow there meanwhile.
        if is_there && !before.has(hash) {
            return Err(NoRoom);
        }
        if !is_there && displaces == 0 && before.0 & Tag::THERE != 0 {
            return Err(NoRoom);
        }
        if displaces != 0 {
            let status = Status(W::load(status_at::<A, W>(bucket, way)));
            let spare = status.spare::<W>(flow.last_seen(), ticks_per_second);
            if status.generation() != before.generation() || spare == 0 {
                return Err(NoRoom);
            }
            if !Status::is_free(spare) {
                stored = Stored::Displacing;
            }
        }
        let tag = before.next(hash);
        if before.is_busy() || !W::swap(at, before.0, tag.0 | Tag::BUSY) {
            return Err(NoRoom);
        }
        write::<A, W>(bucket, way, flow, tag.generation());
        W::store(at, tag.0);
        Ok(stored)
    }
}

/// The number of the way of the flow that can be spared best, 0 where none can.
#[inline(always)]
unsafe fn spared<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    now: u32,
    ticks_per_second: u32,
) -> u64 {
    let mut best = 0_u64;
    let mut way = 0;
    while way < WAYS {
        // SAFETY: the caller's bucket is valid; the status is its way's first word.
        let status = Status(unsafe { W::load(ways(bucket).add(way).cast()) });
        let spare = status.spare::<W>(now, ticks_per_second);
        let number = (way as u64 + 1) & is_zero::<W>(spare).wrapping_sub(1);
        let candidate = W::opaque(spare << 3 | number);
        // The larger of both, without a branch.
        let difference = best.wrapping_sub(candidate);
        let is_less = W::opaque(difference >> 63);
        best = W::opaque(best.wrapping_sub(difference & is_less.wrapping_neg()));
        way += 1;
    }
    best & 7
}

/// Adds the state and the stamp of `flow` to its entry.
///
/// # Errors
/// Where the bucket does not have it.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
pub unsafe fn update<A: Address, W: Words>(
    bucket: *mut Bucket<A>,
    hash: u64,
    flow: &Flow<A>,
) -> Result<(), Absent> {
    let hash = Tag::hash(hash);
    // SAFETY: the caller's bucket is valid.
    unsafe {
        let (way, _) = way_of::<A, W>(bucket, hash, flow);
        if way >= WAYS {
            return Err(Absent);
        }
        let tag = Tag(W::load(tag_at::<A, W>(bucket, way)));
        let word = status_at::<A, W>(bucket, way);
        let mut tries = 0;
        while tries < TRIES {
            let status = Status(W::load(word));
            if !tag.has(hash) || status.generation() != tag.generation() {
                return Err(Absent);
            }
            let seen = status.seen(flow.state(), flow.last_seen());
            if W::swap(word, status.0, seen.0) {
                return Ok(());
            }
            tries += 1;
        }
        Ok(())
    }
}

/// Forgets a flow.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
pub unsafe fn remove<A: Address, W: Words>(bucket: *mut Bucket<A>, hash: u64, flow: &Flow<A>) {
    let hash = Tag::hash(hash);
    // SAFETY: the caller's bucket is valid.
    unsafe {
        let (way, _) = way_of::<A, W>(bucket, hash, flow);
        if way >= WAYS {
            return;
        }
        let at = tag_at::<A, W>(bucket, way);
        let tag = Tag(W::load(at));
        // Where the way has another flow by now, this one is gone.
        if tag.has(hash) && is_of::<A, W>(way_at::<A, W>(bucket, way), flow) {
            W::swap(at, tag.0, tag.next(0).0);
        }
    }
}

/// Notes that the other table has a flow of this bucket.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
pub unsafe fn spill<A: Address, W: Words>(bucket: *mut Bucket<A>) {
    // SAFETY: the caller's bucket is valid.
    unsafe {
        let word = &raw mut (*bucket).spilled;
        if W::load(word) == 0 {
            W::store(word, 1);
        }
    }
}

/// Whether the other table may have a flow of this bucket.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
pub unsafe fn is_spilled<A: Address, W: Words>(bucket: *mut Bucket<A>) -> bool {
    // SAFETY: the caller's bucket is valid.
    unsafe { W::load(&raw const (*bucket).spilled) != 0 }
}
