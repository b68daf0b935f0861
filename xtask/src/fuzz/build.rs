//! Builds the targets, `lb-common/fuzz`, with a stable compiler: what libFuzzer needs is a pass of LLVM, which any rustc has.
//! cargo-fuzz can run them as well, with a nightly one and sanitizers.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::target::Target;
use crate::{
    step::{probe, run as execute, step},
    workspace,
};

/// Counters on every edge, and the operands of comparisons (`clang -fsanitize=fuzzer-no-link` has the same).
const INSTRUMENTED: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Builds targets, and returns the folder of their programs.
///
/// # Errors
/// If they don't compile.
pub fn targets(targets: &[Target]) -> Result<PathBuf> {
    let host = host()?;
    let mut cargo = cargo_build();
    // Named, so that build scripts and macros are not instrumented.
    cargo.args(["--target", &host]);
    for target in targets {
        cargo.args(["--bin", target.name()]);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED.join("\x1f"));
    execute(&mut cargo)?;
    Ok(workspace::fuzz_dir().join(host).join("release"))
}

/// Writes the inputs that the targets begin with.
///
/// # Errors
/// If what writes them does not compile, or the folder can't be written.
pub fn seeds() -> Result<()> {
    step("write lb-common/fuzz/seeds", || {
        execute(cargo_build().args(["--bin", "seeds"]))?;
        let folder = workspace::fuzz_crate().join("seeds");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let program = workspace::fuzz_dir().join("release/seeds");
        execute(std::process::Command::new(program).arg(folder))
    })
}

fn cargo_build() -> std::process::Command {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--release", "--locked"]);
    cargo.arg("--manifest-path");
    cargo.arg(workspace::fuzz_crate().join("Cargo.toml"));
    cargo.arg("--target-dir").arg(workspace::fuzz_dir());
    cargo
}

/// The compiler's own target.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = probe(std::process::Command::new(rustc).arg("-vV")).context("rustc -vV")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
