//! Many rows of a hash map or a trie in one system call (`BPF_MAP_UPDATE_BATCH` and `BPF_MAP_LOOKUP_BATCH`, Linux 5.6), which aya does not
//! offer. Knows no types: keys and values are octets.

use std::io;
use std::iter;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Command of bpf(2): read many entries.
const MAP_LOOKUP_BATCH: libc::c_long = 24;
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
    /// In: how many entries, or how many there is room for. Out: how many were written, or read.
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

/// How far a walk over a map has come: behind this bucket of a hash, or this key of a trie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(4))]
pub struct Place([u8; PLACE]);

/// Octets of the longest key of a trie: an IPv6 address and the number of its bits. That of a bucket has four.
const PLACE: usize = 20;

/// What came of reading a batch.
#[derive(Debug)]
pub enum Batch {
    /// So many entries were read, and there may be more behind the place.
    More(usize, Place),
    /// So many entries were read, and there are no more.
    Last(usize),
    /// A bucket has more entries than there is room for.
    Narrow,
    /// The kernel has no batches for this map.
    Unsupported,
}

/// Inserts or replaces entries in their order, many to a system call, each whether or not those before it could be; one result for
/// each. There are as many keys as values. `put` does the same with the entry of an index alone. `has_batches` is what is known of the
/// kernel.
///
/// # Safety
/// As for [`update`].
pub unsafe fn put_all<K, V, E>(
    map: BorrowedFd<'_>,
    has_batches: &mut bool,
    keys: &[K],
    values: &[V],
    put: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Vec<Result<(), E>> {
    let rows = keys.len().min(values.len());
    let mut results = Vec::with_capacity(rows);
    while results.len() + 1 < rows && *has_batches {
        let at = results.len();
        // SAFETY: by the caller.
        match unsafe { update(map, &keys[at..], &values[at..]) } {
            Outcome::Unsupported => *has_batches = false,
            Outcome::Written(count) => {
                results.extend(iter::repeat_with(|| Ok(())).take(count));
                // The one that was refused is tried alone, for the words of its error; and a batch does not wait where the kernel
                // is out of memory for a moment.
                let index = results.len();
                if index < rows {
                    results.push(put(index));
                }
            }
        }
    }
    for index in results.len()..rows {
        results.push(put(index));
    }
    results
}

/// Reads the entries of whole buckets behind a place, or from the first one on, into `keys` and `values`. An entry stays in its bucket,
/// so one that is there all the time is read once, whatever comes and goes meanwhile. A trie has no buckets: there the walk
/// begins anew where the last entry that was read is gone.
///
/// # Errors
/// Those of the kernel, if it can't read the map.
///
/// # Safety
/// `K` and `V` must be plain octets, of the sizes of the map's keys and values, and the map a hash, or one whose keys have no more
/// octets than a [`Place`].
pub unsafe fn lookup<K, V>(
    map: BorrowedFd<'_>,
    behind: Option<Place>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<Batch> {
    let room = keys.len().min(values.len()) as u32;
    let mut next = Place([0; PLACE]);
    let mut attributes = BatchAttr {
        in_batch: behind.as_ref().map_or(0, |place| &raw const *place as u64),
        out_batch: &raw mut next as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: room,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel writes at most `count` keys and values, for which there is room, as they have the map's sizes by the
    // caller's promise; it reads and writes the places, which live as long as the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_LOOKUP_BATCH,
            &raw mut attributes,
            size_of::<BatchAttr>(),
        )
    };
    let count = attributes.count.min(room) as usize;
    if result == 0 {
        return Ok(Batch::More(count, next));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(Batch::Last(count)),
        Some(libc::ENOSPC) => Ok(Batch::Narrow),
        Some(libc::EINVAL | libc::E2BIG | ENOTSUPP) => Ok(Batch::Unsupported),
        _ => Err(error),
    }
}
