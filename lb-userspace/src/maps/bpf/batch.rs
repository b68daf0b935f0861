//! Many rows of a hash map in one system call (`BPF_MAP_UPDATE_BATCH`, Linux 5.6), which aya does not offer. Knows no types:
//! keys and values are octets.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Command of bpf(2): insert or replace many entries.
const MAP_UPDATE_BATCH: libc::c_long = 26;
/// `ENOTSUPP` of the kernel, which libc does not know: this type of map takes no batches.
const ENOTSUPP: i32 = 524;

/// The part of `union bpf_attr` that the batch commands read.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    /// In: how many entries. Out: how many were written.
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// So many entries were written, from the first on; the one behind them could not be.
    Written(usize),
    /// The kernel has no batches for this map; nothing was written.
    Unsupported,
}

/// Inserts or replaces entries in their order, until one can't be written.
///
/// # Safety
/// `K` and `V` must be plain octets, of the sizes of the map's keys and values.
pub unsafe fn update<K, V>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> Outcome {
    let asked = keys.len().min(values.len()) as u32;
    let mut attributes = BatchAttr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: asked,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `count` keys and values, which are there and of the map's sizes, as the caller promises, and
    // writes to the attributes alone.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_UPDATE_BATCH,
            &raw mut attributes,
            size_of::<BatchAttr>(),
        )
    };
    if result == 0 {
        return Outcome::Written(asked as usize);
    }
    match io::Error::last_os_error().raw_os_error() {
        // An unknown command, or attributes that are too long for the kernel.
        Some(libc::EINVAL | libc::E2BIG | ENOTSUPP) if attributes.count >= asked => {
            Outcome::Unsupported
        }
        // A call that fails before its first entry leaves the number as it was.
        _ if attributes.count >= asked => Outcome::Written(0),
        _ => Outcome::Written(attributes.count as usize),
    }
}
