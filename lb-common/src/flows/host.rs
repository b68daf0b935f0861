//! The table in the memory of a process: a test's own, or that of a map which the kernel shares.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Bucket, Tag, WAYS, Words, way};
use crate::addr::Address;
use crate::conntrack::Flow;

/// Words that other threads read and write, and the programs in the kernel where the memory is a map's.
#[derive(Clone, Copy, Debug)]
pub struct Memory;

impl Words for Memory {
    #[inline(always)]
    unsafe fn load(word: *const u64) -> u64 {
        // SAFETY: by the caller.
        unsafe { AtomicU64::from_ptr(word.cast_mut()) }.load(Ordering::Acquire)
    }

    #[inline(always)]
    unsafe fn store(word: *mut u64, value: u64) {
        // SAFETY: by the caller.
        unsafe { AtomicU64::from_ptr(word) }.store(value, Ordering::Release);
    }

    #[inline(always)]
    unsafe fn swap(word: *mut u64, from: u64, to: u64) -> bool {
        // SAFETY: by the caller.
        unsafe { AtomicU64::from_ptr(word) }
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    #[inline(always)]
    fn nth<const MOST: usize, T>(first: *mut T, number: usize) -> *mut T {
        first.wrapping_add(number & MOST)
    }

    #[inline(always)]
    fn opaque(value: u64) -> u64 {
        value
    }

    #[inline(always)]
    fn apart(so_far: u64, one: u64, other: u64) -> u64 {
        so_far | (one ^ other)
    }
}

/// Shows every flow of a bucket to `visit`. One that is written meanwhile is not shown.
///
/// # Safety
/// The bucket is valid. It may be one that can only be read.
pub unsafe fn each<A: Address>(bucket: *const Bucket<A>, mut visit: impl FnMut(&Flow<A>)) {
    let bucket = bucket.cast_mut();
    for way in 0..WAYS {
        let mut flow = Flow::empty();
        // SAFETY: the caller's bucket is valid; nothing is written.
        unsafe {
            let at = way::tag_at::<A, Memory>(bucket, way);
            let tag = Tag(Memory::load(at));
            if tag.is_there() {
                way::copy::<A, Memory>(bucket, way, &mut flow);
                if Memory::load(at) == tag.0 {
                    visit(&flow);
                }
            }
        }
    }
}
