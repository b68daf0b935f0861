//! An array map in memory (`BPF_F_MMAPABLE`): elements of eight bytes or a multiple, read and written without a system call.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::maps::MapError;

/// Size of an element in bytes: the kernel rounds an array's element up to eight.
const ELEMENT: usize = 8;

/// A mapped array of eight-byte elements.
pub struct Mapped {
    name: &'static str,
    base: NonNull<u8>,
    elements: u32,
    bytes: usize,
    writable: bool,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread; every access to it is atomic.
unsafe impl Send for Mapped {}
// SAFETY: as above: shared references only load, and they load atomically.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps an array of `elements` times eight bytes. The map may be closed afterwards.
    pub fn new(
        name: &'static str,
        map: BorrowedFd<'_>,
        elements: u32,
        writable: bool,
    ) -> io::Result<Self> {
        let page = page_size();
        let bytes = (elements as usize * ELEMENT).next_multiple_of(page);
        let protection = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that exists.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base =
            NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self {
            name,
            base,
            elements,
            bytes,
            writable,
        })
    }

    /// Where the first element is. What is there lives as long as this value, and other processes and programs write there.
    pub fn start(&self) -> *const u8 {
        self.base.as_ptr()
    }

    /// Whether it may be written.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Number of elements of eight bytes.
    pub fn elements(&self) -> u32 {
        self.elements
    }

    /// The 32-bit numbers of a range, two to an element.
    pub fn read_u32s(&self, range: Range<u32>) -> Result<Vec<u32>, MapError> {
        self.check(&range, 2)?;
        Ok(range
            .map(|index| self.u32_at(index).load(Ordering::Relaxed))
            .collect())
    }

    /// The 64-bit numbers of a range, one to an element.
    pub fn read_u64s(&self, range: Range<u32>) -> Result<Vec<u64>, MapError> {
        self.check(&range, 1)?;
        Ok(range
            .map(|index| self.u64_at(index).load(Ordering::Relaxed))
            .collect())
    }

    /// One 64-bit number.
    pub fn read_u64(&self, index: u32) -> Result<u64, MapError> {
        self.check(&(index..index.saturating_add(1)), 1)?;
        Ok(self.u64_at(index).load(Ordering::Relaxed))
    }

    /// Writes consecutive 32-bit numbers from index `first` on. A reader in the kernel sees each of them whole.
    pub fn write_u32s(&mut self, first: u32, values: &[u32]) -> Result<(), MapError> {
        let range = first..first.saturating_add(values.len() as u32);
        self.check(&range, 2)?;
        self.check_writable()?;
        for (index, value) in range.zip(values) {
            // What is written before must be seen before: the frontend that names this slot is published later.
            self.u32_at(index).store(*value, Ordering::Release);
        }
        Ok(())
    }

    /// The 32-bit words of a range, two to eight bytes, to be loaded from.
    pub fn words(&self, range: Range<u32>) -> Result<&[AtomicU32], MapError> {
        self.check(&range, 2)?;
        // SAFETY: the range lies inside the mapping, which lives as long as self and is page-aligned, and an atomic number is
        // laid out as the number; all accesses from this process are atomic.
        Ok(unsafe {
            let first = self.base.as_ptr().cast::<AtomicU32>();
            std::slice::from_raw_parts(first.add(range.start as usize), range.len())
        })
    }

    /// The same, to be stored to.
    pub fn words_mut(&mut self, range: Range<u32>) -> Result<&[AtomicU32], MapError> {
        self.check(&range, 2)?;
        self.check_writable()?;
        self.words(range)
    }

    /// Writes one 64-bit number.
    pub fn write_u64(&mut self, index: u32, value: u64) -> Result<(), MapError> {
        self.check(&(index..index.saturating_add(1)), 1)?;
        self.check_writable()?;
        self.u64_at(index).store(value, Ordering::Release);
        Ok(())
    }

    /// The number at an index that [`Self::check`] has accepted.
    fn u32_at(&self, index: u32) -> &AtomicU32 {
        assert!((index as usize) < self.bytes / 4);
        // SAFETY: the offset lies inside the mapping, which lives as long as self and is page-aligned, so the pointer is
        // aligned to four bytes; all accesses from this process are atomic.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().cast::<u32>().add(index as usize)) }
    }

    /// The number at an index that [`Self::check`] has accepted.
    fn u64_at(&self, index: u32) -> &AtomicU64 {
        assert!((index as usize) < self.bytes / 8);
        // SAFETY: as in `u32_at`, with an alignment of eight bytes.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().cast::<u64>().add(index as usize)) }
    }

    fn check(&self, range: &Range<u32>, per_element: u32) -> Result<(), MapError> {
        let len = self.elements.saturating_mul(per_element);
        if range.start <= range.end && range.end <= len {
            return Ok(());
        }
        Err(MapError::OutOfBounds {
            map: self.name,
            index: u64::from(range.start.max(len)),
            len,
        })
    }

    /// A store into a mapping that is only readable would end the process.
    fn check_writable(&self) -> Result<(), MapError> {
        if self.writable {
            return Ok(());
        }
        let cause = io::Error::from_raw_os_error(libc::EPERM);
        Err(MapError::Access {
            map: self.name,
            action: "write",
            key: "an element".to_owned(),
            cause,
        })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this address and length, and no reference into it outlives self.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

fn page_size() -> usize {
    // SAFETY: reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
