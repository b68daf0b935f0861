//! Bounds that every supported kernel's verifier sees. Kernels before 6.8 do not carry what a comparison showed of a number over to
//! its copy on the stack, which the compiler may take for the use; here the bound and the use are one piece.
//!
//! These change no value that was compared before: the callers compare, these repeat it where the verifier looks.

use core::arch::asm;

/// `pointer + offset`, where `offset <= MAX`, and MAX is one less than a power of two.
#[inline(always)]
pub(crate) fn advance<const MAX: usize>(mut pointer: usize, offset: usize) -> usize {
    const { assert!((MAX + 1).is_power_of_two()) }
    // SAFETY: arithmetic on two registers.
    unsafe {
        asm!(
            "{offset} &= {max}",
            "{pointer} += {offset}",
            offset = inout(reg) offset => _,
            pointer = inout(reg) pointer,
            max = const MAX,
            options(pure, nomem, nostack),
        );
    }
    pointer
}

/// The element of an array by its number, which is at most MOST, one less than a power of two.
#[inline(always)]
pub(crate) fn nth<const MOST: usize, T>(mut first: *mut T, number: usize) -> *mut T {
    const { assert!((MOST + 1).is_power_of_two()) }
    // SAFETY: arithmetic on two registers.
    unsafe {
        asm!(
            "{number} &= {most}",
            "{number} *= {size}",
            "{first} += {number}",
            number = inout(reg) number => _,
            first = inout(reg) first,
            most = const MOST,
            size = const size_of::<T>(),
            options(pure, nomem, nostack),
        );
    }
    first
}

/// `len`, where `1 <= len <= MAX`, and MAX is a power of two.
#[inline(always)]
pub(crate) fn within<const MAX: usize>(mut len: usize) -> usize {
    const { assert!(MAX.is_power_of_two()) }
    // SAFETY: arithmetic on a register.
    unsafe {
        asm!(
            "{len} += -1",
            "{len} &= {mask}",
            "{len} += 1",
            len = inout(reg) len,
            mask = const MAX - 1,
            options(pure, nomem, nostack),
        );
    }
    len
}
