//! What the allocator does with memory that is free again: most of what a list of the API takes is needed for a moment only,
//! and an agent runs for months.

/// From how many octets on a piece of memory goes back to the kernel by itself once it is free. Left alone, glibc raises this
/// with each larger piece that is freed, up to 32 MiB, and what lies between lasting pieces is never returned.
#[cfg(target_env = "gnu")]
const RETURNED_ALONE: libc::c_int = 128 << 10;

/// To be called before much is allocated.
pub(super) fn return_large_pieces() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number inside the allocator. Failing, it leaves what there was.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_ALONE);
    }
}

/// Gives back what is free now: to be called after what takes much for a moment. Takes milliseconds.
pub(super) fn return_free() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
