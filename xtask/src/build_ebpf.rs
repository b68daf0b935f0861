//! `cargo xtask build-ebpf`: compiles lb-ebpf for the BPF target and puts the object where lb-userspace embeds it from.
//! Which compiler and which linker do it is decided in `toolchain` and `linker`; freshness is cargo's business.

mod linker;
mod strip;
mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    step::{run as execute, step},
    workspace,
};

const TARGET: &str = "bpfel-unknown-none";
/// `e_machine` of BPF objects, EM_BPF in the kernel's include/uapi/linux/elf-em.h.
const ELF_MACHINE_BPF: u16 = 247;

/// Builds the object if anything changed and returns its path.
///
/// # Errors
/// If no toolchain can be had, with the commands that get one, or if the code does not compile.
pub fn run() -> Result<PathBuf> {
    let compiler = toolchain::resolve()?;
    println!("BPF compiler: {compiler}");
    let linker = linker::resolve()?;
    println!(
        "BPF linker:   {} ({})",
        linker.path.display(),
        linker.reason
    );

    let object = workspace::bpf_object();
    step(
        "compile lb-ebpf for BPF (seconds; under a minute the first time)",
        || {
            execute(
                compiler
                    .cargo()
                    .args([
                        "build",
                        "--release",
                        "--package",
                        "lb-ebpf",
                        "--bin",
                        "lb-ebpf",
                        "--target",
                        TARGET,
                    ])
                    .arg("--target-dir")
                    .arg(workspace::bpf_build_dir())
                    .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&linker.path))
                    .envs(PROFILE),
            )?;
            let built = workspace::bpf_build_dir()
                .join(TARGET)
                .join("release/lb-ebpf");
            publish(&built, &object)
        },
    )?;
    Ok(object)
}

/// BTF comes from full debug information; the verifier wants one inlined program without overflow panics.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false"),
];

/// Flags in cargo's encoding, in which no path needs quoting.
fn rustflags(linker: &Path) -> String {
    [
        format!("-Clinker={}", linker.display()),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // v3 brings the atomic operations that return a value.
        "-Ctarget-cpu=v3".into(),
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
    ]
    .join("\x1f")
}

/// Puts a changed object in its place in one go; an unchanged one keeps its time, so that nothing is rebuilt for it.
fn publish(built: &Path, object: &Path) -> Result<()> {
    let bytes = fs::read(built)
        .with_context(|| format!("the build left no object at {}", built.display()))?;
    if elf_machine(&bytes) != Some(ELF_MACHINE_BPF) {
        bail!(
            "{} is not a BPF object: was it linked by something else than bpf-linker?",
            built.display()
        );
    }
    let bytes = strip::without_dwarf(&bytes).with_context(|| built.display().to_string())?;
    if fs::read(object).is_ok_and(|old| old == bytes) {
        println!("    {} is up to date", object.display());
        return Ok(());
    }
    let folder = object.parent().context("the object's path has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let fresh = workspace::bpf_build_dir().join("lb-ebpf.o.new");
    fs::write(&fresh, &bytes).with_context(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, object).with_context(|| format!("cannot write {}", object.display()))?;
    println!("    {} written, {} bytes", object.display(), bytes.len());
    Ok(())
}

/// `e_machine` of a little-endian 64-bit ELF file, `None` for anything else.
fn elf_machine(bytes: &[u8]) -> Option<u16> {
    const ELF64_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";
    if !bytes.starts_with(ELF64_LITTLE_ENDIAN) {
        return None;
    }
    Some(u16::from_le_bytes([*bytes.get(18)?, *bytes.get(19)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_64_bit_little_endian_elf_file_has_a_machine() {
        let mut header = [0; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18..20].copy_from_slice(&247u16.to_le_bytes());
        assert_eq!(elf_machine(&header), Some(ELF_MACHINE_BPF));
        header[5] = 2;
        assert_eq!(elf_machine(&header), None);
        assert_eq!(elf_machine(b"\x7fELF\x02\x01"), None);
        assert_eq!(elf_machine(b"BC\xc0\xde"), None);
    }
}
