//! Entries that move to a map of another size, byte by byte.
//!
//! The programs that run write to the old map until their links are replaced, so the copy is made twice: all of it before,
//! what came meanwhile afterwards. Entries of another shape are never copied.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use crate::datapath::bpf::{RawMap, Write};

/// How a copy went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CopyReport {
    /// Entries written.
    pub copied: u32,
    /// Entries that the new map had already and that were left as they are.
    pub known: u32,
    /// Entries that the new map did not take.
    pub refused: u32,
}

/// An old map and the new one in its place.
#[derive(Debug)]
pub(in crate::datapath) struct CarryOver {
    pub(in crate::datapath) name: &'static str,
    pub(in crate::datapath) from: OwnedFd,
    pub(in crate::datapath) to: OwnedFd,
}

impl CarryOver {
    /// Copies what the new map does not have.
    pub(in crate::datapath) fn again(&self) -> io::Result<CopyReport> {
        copy_entries(self.from.as_fd(), self.to.as_fd())
    }
}

/// Copies the entries that the new map does not have.
///
/// # Errors
/// If the maps differ in their sizes of keys or values, or the old one can't be read.
pub(in crate::datapath) fn copy_entries(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
) -> io::Result<CopyReport> {
    let max_entries = crate::datapath::bpf::map_info(from)?.max_entries;
    let (from, to) = (RawMap::new(from)?, RawMap::new(to)?);
    if from.sizes() != to.sizes() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut report = CopyReport::default();
    let mut key = from.next_key(None)?;
    // Where a key vanishes under the walk, the kernel begins anew; the bound ends a walk that never gets through.
    for _ in 0..u64::from(max_entries) * 2 {
        let Some(current) = key else { break };
        if let Some(value) = from.lookup(&current)? {
            match to.update(&current, &value, Write::OnlyNew) {
                Ok(()) => report.copied += 1,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => report.known += 1,
                Err(_full) => report.refused += 1,
            }
        }
        key = from.next_key(Some(&current))?;
    }
    Ok(report)
}
