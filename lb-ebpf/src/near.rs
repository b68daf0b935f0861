//! The set-associative table of flows in the kernel.

use core::arch::asm;
use core::marker::PhantomData;
use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::Global;
use lb_common::conntrack::{ConntrackKey, Flow, Peek, Peeked};
use lb_common::flows::{self, Absent, Bucket, Near, NoRoom, Sought, Stored, Words};
use lb_common::layout::limit;

use crate::dataplane::{SECRET, TICKS_PER_SECOND};
use crate::maps::{self, FamilyMaps};
use crate::verifier;

/// Buckets of each family's table, a power of two; 0 where flows are in the other tables only. The agent sets it.
#[unsafe(no_mangle)]
pub(crate) static FLOW_BUCKETS: Global<u32> = Global::new(flows::buckets(limit::FLOWS));

/// Whether there is a table.
#[inline(always)]
pub(crate) fn is_there() -> bool {
    FLOW_BUCKETS.load() != 0
}

/// Words of a map, as programs on all CPUs see them.
struct Shared;

impl Words for Shared {
    #[inline(always)]
    unsafe fn load(word: *const u64) -> u64 {
        // SAFETY: by the caller.
        let value = unsafe { core::ptr::read_volatile(word) };
        compiler_fence(Ordering::SeqCst);
        value
    }

    #[inline(always)]
    unsafe fn store(word: *mut u64, value: u64) {
        compiler_fence(Ordering::SeqCst);
        // SAFETY: by the caller.
        unsafe { core::ptr::write_volatile(word, value) };
    }

    #[inline(always)]
    unsafe fn swap(word: *mut u64, from: u64, to: u64) -> bool {
        let found: u64;
        // SAFETY: by the caller; the instruction compares with r0 and leaves there what it found.
        unsafe {
            asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {to})",
                word = in(reg) word,
                to = in(reg) to,
                inlateout("r0") from => found,
                options(nostack),
            );
        }
        found == from
    }

    #[inline(always)]
    fn nth<const MOST: usize, T>(first: *mut T, number: usize) -> *mut T {
        verifier::nth::<MOST, T>(first, number)
    }

    #[inline(always)]
    fn opaque(mut value: u64) -> u64 {
        // SAFETY: a register is set to itself: without an instruction there would be a line of no place.
        unsafe {
            asm!("{value} = {value}", value = inout(reg) value, options(pure, nomem, nostack))
        };
        value
    }

    #[inline(always)]
    fn apart(mut so_far: u64, one: u64, other: u64) -> u64 {
        // SAFETY: arithmetic of registers. Not pure, so that it stays where it is: else all that is compared would be read
        // first, and be kept on the stack.
        unsafe {
            asm!(
                "{one} ^= {other}",
                "{so_far} |= {one}",
                one = inout(reg) one => _,
                so_far = inout(reg) so_far,
                other = in(reg) other,
                options(nomem, nostack),
            );
        }
        so_far
    }
}

/// The table of a family.
pub(crate) struct NearFlows<A>(pub(crate) PhantomData<A>);

impl<A: FamilyMaps> Near<A> for NearFlows<A> {
    #[inline(always)]
    fn is_there(&self) -> bool {
        is_there()
    }

    #[inline(always)]
    fn find(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> Sought {
        sought(find(key, into))
    }

    /// Not a function of its own, for one place calls it, with the key in registers.
    #[inline(always)]
    fn peek(&self, key: &ConntrackKey<A>, into: &mut Peek<A>) -> Peeked {
        let hash = hash_of_key(key);
        match bucket::<A>(hash) {
            // SAFETY: the bucket is an element of the map.
            Some(bucket) => unsafe { flows::peek::<A, Shared>(bucket, hash, key, into) },
            None => Peeked::Unsaid,
        }
    }

    #[inline(always)]
    fn find_ports(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> Sought {
        sought(find_ports(key, into))
    }

    #[inline(always)]
    fn insert(&self, flow: &Flow<A>) -> Result<bool, NoRoom> {
        match insert(flow) {
            STORED => Ok(false),
            STORED_SPILLED => Ok(true),
            _ => Err(NoRoom),
        }
    }

    #[inline(always)]
    fn update(&self, flow: &Flow<A>) -> Result<(), Absent> {
        if update(flow) { Ok(()) } else { Err(Absent) }
    }

    #[inline(always)]
    fn remove(&self, flow: &Flow<A>) -> bool {
        remove(flow)
    }

    #[inline(always)]
    fn spill(&self, flow: &Flow<A>, client_port: u16) {
        spill(flow, client_port as u32);
    }
}

const FOUND: u32 = 0;
const ABSENT: u32 = 1;
const SPILLED: u32 = 2;

const STORED: u32 = 0;
const STORED_SPILLED: u32 = 1;
const NO_ROOM: u32 = 2;

#[inline(always)]
fn sought(outcome: u32) -> Sought {
    match outcome {
        FOUND => Sought::Found,
        ABSENT => Sought::Absent,
        _ => Sought::Spilled,
    }
}

#[inline(always)]
fn hash_of_key<A: FamilyMaps>(key: &ConntrackKey<A>) -> u64 {
    flows::hash_of_key(SECRET.load(), key)
}

#[inline(always)]
fn hash_of_flow<A: FamilyMaps>(flow: &Flow<A>, client_port: u16) -> u64 {
    flows::hash_of_flow(SECRET.load(), flow, client_port)
}

#[inline(always)]
fn bucket<A: FamilyMaps>(hash: u64) -> Option<*mut Bucket<A>> {
    A::flows().get_ptr_mut(flows::index(hash, FLOW_BUCKETS.load()))
}

#[inline(always)]
fn unless_spilled<A: FamilyMaps>(bucket: *mut Bucket<A>) -> u32 {
    // SAFETY: the bucket is an element of the map.
    if unsafe { flows::is_spilled::<A, Shared>(bucket) } {
        SPILLED
    } else {
        ABSENT
    }
}

// Functions of their own, for their stack frames, and because each is called from several places.

#[inline(never)]
fn find<A: FamilyMaps>(key: &ConntrackKey<A>, into: &mut Flow<A>) -> u32 {
    let hash = hash_of_key(key);
    let Some(bucket) = bucket::<A>(hash) else {
        return ABSENT;
    };
    // SAFETY: the bucket is an element of the map.
    if unsafe { flows::find::<A, Shared>(bucket, hash, key, into) } {
        return FOUND;
    }
    unless_spilled(bucket)
}

#[inline(never)]
fn find_ports<A: FamilyMaps>(key: &ConntrackKey<A>, into: &mut Flow<A>) -> u32 {
    let hash = hash_of_key(key);
    let Some(bucket) = bucket::<A>(hash) else {
        return ABSENT;
    };
    // SAFETY: the bucket is an element of the map.
    if unsafe { flows::find_ports::<A, Shared>(bucket, hash, key, into) } {
        return FOUND;
    }
    unless_spilled(bucket)
}

#[inline(never)]
fn insert<A: FamilyMaps>(flow: &Flow<A>) -> u32 {
    let hash = hash_of_flow(flow, flow.client().port.get());
    let Some(bucket) = bucket::<A>(hash) else {
        return NO_ROOM;
    };
    // SAFETY: the bucket is an element of the map.
    match unsafe { flows::insert::<A, Shared>(bucket, hash, flow, TICKS_PER_SECOND.load()) } {
        Ok(Stored::Freely) => {}
        Ok(Stored::Displacing) => maps::count_displaced::<A>(),
        Err(NoRoom) => return NO_ROOM,
    }
    match unless_spilled(bucket) {
        SPILLED => STORED_SPILLED,
        _ => STORED,
    }
}

#[inline(never)]
fn update<A: FamilyMaps>(flow: &Flow<A>) -> bool {
    let hash = hash_of_flow(flow, flow.client().port.get());
    let Some(bucket) = bucket::<A>(hash) else {
        return false;
    };
    // SAFETY: the bucket is an element of the map.
    unsafe { flows::update::<A, Shared>(bucket, hash, flow) }.is_ok()
}

#[inline(never)]
fn remove<A: FamilyMaps>(flow: &Flow<A>) -> bool {
    let hash = hash_of_flow(flow, flow.client().port.get());
    let Some(bucket) = bucket::<A>(hash) else {
        return true;
    };
    // SAFETY: the bucket is an element of the map.
    unsafe { flows::remove::<A, Shared>(bucket, hash, flow) };
    unless_spilled(bucket) == SPILLED
}

#[inline(never)]
fn spill<A: FamilyMaps>(flow: &Flow<A>, client_port: u32) {
    let hash = hash_of_flow(flow, client_port as u16);
    if let Some(bucket) = bucket::<A>(hash) {
        // SAFETY: the bucket is an element of the map.
        unsafe { flows::spill::<A, Shared>(bucket) };
    }
}
