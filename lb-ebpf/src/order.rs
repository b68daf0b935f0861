//! Loads one after the other, on machines as well that load in an order of their own (arm64). Programs have no barrier for it on
//! the kernels that are supported, but no machine loads from an address before it knows the address.

use core::arch::asm;

/// `pointer`, which is not known before `word` is: what is loaded through it is loaded after the word.
#[inline(always)]
pub(crate) fn after<T>(pointer: *const T, word: u32) -> *const T {
    let (mut pointer, mut word) = (pointer as usize, u64::from(word));
    // SAFETY: arithmetic on two registers, which adds nothing.
    unsafe {
        asm!(
            "{word} &= 0",
            "{pointer} += {word}",
            word = inout(reg) word,
            pointer = inout(reg) pointer,
            options(pure, nomem, nostack),
        );
    }
    let _ = word;
    pointer as *const T
}
