//! The table of flows in memory, as the programs have it.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use aya::maps::MapData;
use lb_common::addr::Address;
use lb_common::conntrack::{ConntrackKey, Flow};
use lb_common::flows::{self, Bucket, Memory, WAYS};

use super::mapped::Mapped;
use super::open::Pins;
use crate::maps::MapError;

/// A table of flows of one family, which the programs read and write at the same time.
pub struct FlowArray<A> {
    memory: Mapped,
    buckets: u32,
    family: PhantomData<fn(A)>,
}

/// The pinned table, which is mapped only while somebody looks into it: the kernel counts mapped pages of it as the process's own.
pub(super) struct PinnedFlows<A> {
    name: &'static str,
    path: PathBuf,
    map: MapData,
    buckets: u32,
    family: PhantomData<fn(A)>,
}

impl<A: Address> PinnedFlows<A> {
    /// Opens the array that is pinned under a name.
    pub(super) fn open(pins: &Pins<'_>, name: &'static str) -> Result<Self, MapError> {
        let (map, shape) = pins.mappable(name)?;
        Ok(Self {
            name,
            path: pins.path(name),
            map,
            buckets: shape.max_entries,
            family: PhantomData,
        })
    }

    /// How many flows there is room for.
    pub(super) fn room(&self) -> u32 {
        self.buckets * WAYS as u32
    }

    /// Shows every flow to `visit`.
    pub(super) fn each(&self, visit: &mut dyn FnMut(&Flow<A>)) -> Result<(), MapError> {
        let table = FlowArray::<A>::map(self.map.fd().as_fd(), self.buckets, false);
        let table = table.map_err(|cause| MapError::Open {
            map: self.name,
            path: self.path.clone(),
            cause,
        })?;
        table.each(visit);
        Ok(())
    }
}

/// What came of a flow that was to be put into a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It is there now.
    Stored,
    /// It was there.
    Known,
    /// There is no room: it belongs into another table, and the bucket knows.
    Spilled,
}

impl<A: Address> FlowArray<A> {
    /// Maps an array of so many buckets into memory. The map may be closed afterwards.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn map(array: BorrowedFd<'_>, buckets: u32, writable: bool) -> io::Result<Self> {
        let words = buckets * (size_of::<Bucket<A>>() / 8) as u32;
        Ok(Self {
            memory: Mapped::new("flows", array, words, writable)?,
            buckets,
            family: PhantomData,
        })
    }

    /// Shows every flow to `visit`.
    pub fn each(&self, visit: &mut dyn FnMut(&Flow<A>)) {
        for index in 0..self.buckets {
            // SAFETY: the bucket is the table's.
            unsafe { flows::each(self.bucket(index), &mut *visit) };
        }
    }

    /// Puts a flow into the table, unless it has it. `secret` and `ticks_per_second` are those of the programs.
    ///
    /// # Panics
    /// If it is mapped for reading.
    pub fn put(&self, flow: &Flow<A>, secret: u64, ticks_per_second: u32) -> Put {
        let key = flow.from_client();
        let (bucket, hash) = self.bucket_of(&key, secret);
        // SAFETY: the bucket is the table's, and may be written.
        unsafe {
            if flow.has_other_source_port() {
                flows::spill::<A, Memory>(bucket);
                let (other, _) = self.bucket_of(&flow.from_backend(), secret);
                flows::spill::<A, Memory>(other);
                return Put::Spilled;
            }
            if flows::find::<A, Memory>(bucket, hash, &key, &mut Flow::empty()) {
                return Put::Known;
            }
            if flows::insert::<A, Memory>(bucket, hash, flow, ticks_per_second).is_ok() {
                return Put::Stored;
            }
            flows::spill::<A, Memory>(bucket);
            Put::Spilled
        }
    }

    /// Lets the bucket know that another table has an entry of this key.
    ///
    /// # Panics
    /// If it is mapped for reading.
    pub fn note(&self, key: &ConntrackKey<A>, secret: u64) {
        let (bucket, _) = self.bucket_of(key, secret);
        // SAFETY: the bucket is the table's, and may be written.
        unsafe { flows::spill::<A, Memory>(bucket) };
    }

    /// Whether the bucket of a key knows of another table's entry.
    ///
    /// # Panics
    /// If it is mapped for reading.
    pub fn is_noted(&self, key: &ConntrackKey<A>, secret: u64) -> bool {
        let (bucket, _) = self.bucket_of(key, secret);
        // SAFETY: the bucket is the table's.
        unsafe { flows::is_spilled::<A, Memory>(bucket) }
    }

    fn bucket_of(&self, key: &ConntrackKey<A>, secret: u64) -> (*mut Bucket<A>, u64) {
        assert!(self.memory.is_writable());
        let hash = flows::hash_of_key(secret, key);
        let index = flows::index(hash, self.buckets);
        (self.bucket(index).cast_mut(), hash)
    }

    fn bucket(&self, index: u32) -> *const Bucket<A> {
        assert!(index < self.buckets);
        // SAFETY: the memory has so many buckets, from its start, which is a page's; it lives as long as self.
        unsafe { self.memory.start().cast::<Bucket<A>>().add(index as usize) }
    }
}
