//! Whether the kernel knows the instruction that the table of flows needs, and the object for kernels that don't.
//!
//! Compare-and-swap came with Linux 5.12. A kernel without it refuses a program that contains it, though it is never reached.

use std::sync::OnceLock;

use object::{Object as _, ObjectSection as _, SectionKind};

use super::bpf;

/// BPF_STX | BPF_ATOMIC | BPF_DW.
const ATOMIC: u8 = 0xdb;
/// BPF_CMPXCHG, in the place of a number.
const COMPARE_AND_SWAP: [u8; 4] = 0xf1_u32.to_le_bytes();
/// r0 = 0.
const NOTHING: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];

/// Whether the table of flows can be used: the kernel has the instruction, and the processor keeps loads in their order, as the
/// table's readers need it.
pub fn are_there() -> bool {
    static ARE_THERE: OnceLock<bool> = OnceLock::new();
    *ARE_THERE.get_or_init(|| cfg!(target_arch = "x86_64") && bpf::loads(&PROBE))
}

/// r0 = 0; *(u64 *)(r10 - 8) = r0; r1 = 0; r0 = cmpxchg_64(r10 - 8, r0, r1); r0 = 0; exit.
const PROBE: [u64; 6] = [
    0x0000_0000_0000_00b7,
    0x0000_0000_fff8_0a7b,
    0x0000_0000_0000_01b7,
    0x0000_00f1_fff8_1adb,
    0x0000_0000_0000_00b7,
    0x0000_0000_0000_0095,
];

/// The object with nothing in the place of each compare-and-swap. It is right where those are never reached: without a table of
/// flows.
///
/// # Errors
/// If it is no object.
pub fn without(elf: &[u8]) -> Result<Vec<u8>, object::Error> {
    let mut changed = elf.to_vec();
    let file = object::File::parse(elf)?;
    for section in file.sections() {
        if section.kind() != SectionKind::Text {
            continue;
        }
        let Some((start, len)) = section.file_range() else {
            continue;
        };
        let code = &mut changed[start as usize..(start + len) as usize];
        for instruction in code.chunks_exact_mut(8) {
            if instruction[0] == ATOMIC && instruction[4..] == COMPARE_AND_SWAP {
                instruction.copy_from_slice(&NOTHING);
            }
        }
    }
    Ok(changed)
}
