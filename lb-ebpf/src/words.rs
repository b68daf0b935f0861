//! Packet memory by words. A header is aligned to nothing, so of octets there the compiler makes loads and stores of one
//! octet each. All kernels that translate programs for machines which load words from anywhere let programs do so in packets.

use core::arch::asm;

/// The octets at a place, by words of four.
///
/// # Safety
///
/// The `N` octets are of the packet, and proved to be accessible.
#[inline(always)]
pub(crate) unsafe fn load<const N: usize>(at: *const [u8; N]) -> [u8; N] {
    let at = at.cast::<u8>();
    let mut octets = [0; N];
    let mut i = 0;
    while i + 4 <= N {
        // SAFETY: by the caller's promise.
        let word = unsafe { load_word(at.add(i)) };
        octets[i..i + 4].copy_from_slice(&word.to_ne_bytes());
        i += 4;
    }
    if i + 2 <= N {
        // SAFETY: as above.
        let word = unsafe { load_half(at.add(i)) };
        octets[i..i + 2].copy_from_slice(&word.to_ne_bytes());
        i += 2;
    }
    if i < N {
        // SAFETY: as above.
        octets[i] = unsafe { *at.add(i) };
    }
    octets
}

/// Stores octets at a place, by words of four.
///
/// # Safety
///
/// As for [`load`].
#[inline(always)]
pub(crate) unsafe fn store<const N: usize>(at: *mut [u8; N], octets: [u8; N]) {
    let at = at.cast::<u8>();
    let mut i = 0;
    while i + 4 <= N {
        let word = u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
        // SAFETY: by the caller's promise.
        unsafe { store_word(at.add(i), word) };
        i += 4;
    }
    if i + 2 <= N {
        // SAFETY: as above.
        unsafe { store_half(at.add(i), u16::from_ne_bytes([octets[i], octets[i + 1]])) };
        i += 2;
    }
    if i < N {
        // SAFETY: as above.
        unsafe { *at.add(i) = octets[i] };
    }
}

#[inline(always)]
unsafe fn load_word(at: *const u8) -> u32 {
    let word: u64;
    // SAFETY: a load from where the caller says.
    unsafe {
        asm!("{word} = *(u32 *)({at} + 0)", word = lateout(reg) word, at = in(reg) at, options(pure, readonly, nostack));
    }
    word as u32
}

#[inline(always)]
unsafe fn load_half(at: *const u8) -> u16 {
    let word: u64;
    // SAFETY: as above.
    unsafe {
        asm!("{word} = *(u16 *)({at} + 0)", word = lateout(reg) word, at = in(reg) at, options(pure, readonly, nostack));
    }
    word as u16
}

#[inline(always)]
unsafe fn store_word(at: *mut u8, word: u32) {
    // SAFETY: a store to where the caller says.
    unsafe {
        asm!("*(u32 *)({at} + 0) = {word}", word = in(reg) word as u64, at = in(reg) at, options(nostack));
    }
}

#[inline(always)]
unsafe fn store_half(at: *mut u8, word: u16) {
    // SAFETY: as above.
    unsafe {
        asm!("*(u16 *)({at} + 0) = {word}", word = in(reg) word as u64, at = in(reg) at, options(nostack));
    }
}
