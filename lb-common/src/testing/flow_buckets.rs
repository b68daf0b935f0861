//! The set-associative table of flows in a test's own memory, as several threads share it.

use std::cell::UnsafeCell;

use crate::addr::Address;
use crate::conntrack::{ConntrackKey, Flow, Peek, Peeked};
use crate::flows::{self, Absent, Bucket, Memory, Near, NoRoom, Sought};

/// A table.
pub struct FlowBuckets<A> {
    buckets: Box<[UnsafeCell<Bucket<A>>]>,
    /// Ticks of the clock in a second.
    pub ticks_per_second: u32,
}

// SAFETY: the buckets are read and written by the operations of `flows` alone, which are made for that.
unsafe impl<A: Address> Sync for FlowBuckets<A> {}

const SECRET: u64 = 0x0123_4567_89ab_cdef;

impl<A: Address> FlowBuckets<A> {
    /// With room for at least so many flows, and nothing in it.
    pub fn new(flows: u32) -> Self {
        let empty = || UnsafeCell::new(Bucket::empty());
        Self {
            buckets: (0..flows::buckets(flows)).map(|_| empty()).collect(),
            ticks_per_second: 250,
        }
    }

    /// All flows, in no order.
    pub fn all(&self) -> Vec<Flow<A>> {
        let mut all = Vec::new();
        for bucket in &self.buckets {
            // SAFETY: the bucket lives as long as self.
            unsafe { flows::each(bucket.get(), |flow| all.push(*flow)) };
        }
        all
    }

    fn of(&self, hash: u64) -> (*mut Bucket<A>, u64) {
        let index = flows::index(hash, self.buckets.len() as u32);
        (self.buckets[index as usize].get(), hash)
    }

    fn of_key(&self, key: &ConntrackKey<A>) -> (*mut Bucket<A>, u64) {
        self.of(flows::hash_of_key(SECRET, key))
    }

    fn of_flow(&self, flow: &Flow<A>) -> (*mut Bucket<A>, u64) {
        self.of(flows::hash_of_flow(SECRET, flow, flow.client().port.get()))
    }
}

fn sought<A: Address>(is_found: bool, bucket: *mut Bucket<A>) -> Sought {
    // SAFETY: the callers' buckets are a table's.
    match (is_found, unsafe { flows::is_spilled::<A, Memory>(bucket) }) {
        (true, _) => Sought::Found,
        (false, false) => Sought::Absent,
        (false, true) => Sought::Spilled,
    }
}

impl<A: Address> Near<A> for FlowBuckets<A> {
    fn is_there(&self) -> bool {
        true
    }

    fn find(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> Sought {
        let (bucket, hash) = self.of_key(key);
        // SAFETY: the bucket is the table's.
        sought(
            unsafe { flows::find::<A, Memory>(bucket, hash, key, into) },
            bucket,
        )
    }

    fn peek(&self, key: &ConntrackKey<A>, into: &mut Peek<A>) -> Peeked {
        let (bucket, hash) = self.of_key(key);
        // SAFETY: the bucket is the table's.
        unsafe { flows::peek::<A, Memory>(bucket, hash, key, into) }
    }

    fn find_ports(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> Sought {
        let (bucket, hash) = self.of_key(key);
        // SAFETY: the bucket is the table's.
        sought(
            unsafe { flows::find_ports::<A, Memory>(bucket, hash, key, into) },
            bucket,
        )
    }

    fn insert(&self, flow: &Flow<A>) -> Result<bool, NoRoom> {
        let (bucket, hash) = self.of_flow(flow);
        // SAFETY: the bucket is the table's.
        unsafe {
            flows::insert::<A, Memory>(bucket, hash, flow, self.ticks_per_second)?;
            Ok(flows::is_spilled::<A, Memory>(bucket))
        }
    }

    fn update(&self, flow: &Flow<A>) -> Result<(), Absent> {
        let (bucket, hash) = self.of_flow(flow);
        // SAFETY: the bucket is the table's.
        unsafe { flows::update::<A, Memory>(bucket, hash, flow) }
    }

    fn remove(&self, flow: &Flow<A>) -> bool {
        let (bucket, hash) = self.of_flow(flow);
        // SAFETY: the bucket is the table's.
        unsafe {
            flows::remove::<A, Memory>(bucket, hash, flow);
            flows::is_spilled::<A, Memory>(bucket)
        }
    }

    fn spill(&self, flow: &Flow<A>, client_port: u16) {
        let (bucket, _) = self.of(flows::hash_of_flow(SECRET, flow, client_port));
        // SAFETY: the bucket is the table's.
        unsafe { flows::spill::<A, Memory>(bucket) };
    }
}
