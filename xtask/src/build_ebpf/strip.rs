//! The object without what debuggers of user space would read. The kernel and `bpftool` read BTF, which stays.

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};
use object::elf;

/// Names of DWARF's sections begin so, and of those that relocate them.
const DWARF: [&[u8]; 2] = [b".debug_", b".rel.debug_"];

/// The object without DWARF: more than half of it, and bpf-linker has made BTF of it by then.
///
/// # Errors
/// If it is no ELF file.
pub fn without_dwarf(octets: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(octets).context("the object is no ELF file")?;
    for section in &mut builder.sections {
        if DWARF.iter().any(|name| section.name.starts_with(name)) {
            section.delete = true;
        }
    }
    builder.delete_orphans();
    // LLVM keeps the names of sections among those of symbols; the writer wants them by themselves.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}
