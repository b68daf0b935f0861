//! Which Rust compiler makes the BPF code. Needed is a `core` for the BPF target: a ready-made one or its source.
//! Sources, in order: LB_BPF_RUSTC, rustup's nightly with rust-src, Debian's rustc-web, Debian's rustc-web after installing it.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, anyhow};

use super::{TARGET, linker::LLVM_MAJOR};
use crate::{
    setup::{self, tools},
    step::probe,
    workspace,
};

/// Environment variable with the path of a rustc that has a `core` for the BPF target.
const RUSTC_VARIABLE: &str = "LB_BPF_RUSTC";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The only crates that may use unstable features with a stable compiler: inline assembly and atomics on BPF.
const UNSTABLE_CRATES: &str = "aya_ebpf,lb_ebpf";

/// A compiler for BPF, and why it was chosen.
pub struct Toolchain {
    kind: Kind,
    reason: String,
}

enum Kind {
    /// A rustc with a ready-made `core`, driven by the cargo that runs us.
    Prebuilt(PathBuf),
    /// rustup's nightly, which compiles `core` from rust-src.
    Nightly,
}

/// Finds a compiler, or installs Debian's.
///
/// # Errors
/// If none can be had: the message says what was tried and holds the commands for each way out.
pub fn resolve() -> Result<Toolchain> {
    if let Some(path) = env::var_os(RUSTC_VARIABLE).map(PathBuf::from) {
        let version = usable_prebuilt(&path)
            .map_err(|why| anyhow!("{RUSTC_VARIABLE}={}: {why}", path.display()))?;
        let reason = format!("{version}, named by {RUSTC_VARIABLE}");
        return Ok(Toolchain {
            kind: Kind::Prebuilt(path),
            reason,
        });
    }
    let no_nightly = match usable_nightly() {
        Ok(version) => {
            return Ok(Toolchain {
                kind: Kind::Nightly,
                reason: format!("{version}, compiles core from rust-src"),
            });
        }
        Err(why) => why,
    };
    let no_debian = match usable_prebuilt(Path::new(DEBIAN_RUSTC)) {
        Ok(version) => return Ok(debian(&version, &no_nightly)),
        Err(why) => why,
    };
    println!("no BPF compiler yet: nightly: {no_nightly}; {DEBIAN_RUSTC}: {no_debian}");
    setup::ensure("compile for BPF", &[tools::BPF_COMPILER])
        .and_then(|()| usable_prebuilt(Path::new(DEBIAN_RUSTC)).map_err(|why| anyhow!("{DEBIAN_RUSTC}: {why}")))
        .map(|version| debian(&version, &no_nightly))
        .map_err(|error| {
            anyhow!(
                "{error:#}\n\
                 or use rustup's nightly: `rustup toolchain install nightly --component rust-src`\n\
                 or name a rustc of LLVM {LLVM_MAJOR} or older that has core for {TARGET}: {RUSTC_VARIABLE}=<path>"
            )
        })
}

fn debian(version: &str, no_nightly: &str) -> Toolchain {
    Toolchain {
        kind: Kind::Prebuilt(DEBIAN_RUSTC.into()),
        reason: format!("{version}, Debian's, has core for BPF; nightly not used: {no_nightly}"),
    }
}

impl Toolchain {
    /// A cargo command, without its verb, set up to compile with this compiler.
    pub fn cargo(&self) -> Command {
        match &self.kind {
            Kind::Prebuilt(rustc) => {
                let mut cargo = workspace::cargo();
                cargo
                    .env("RUSTC", rustc)
                    .env("RUSTC_BOOTSTRAP", UNSTABLE_CRATES);
                cargo
            }
            Kind::Nightly => {
                let mut cargo = nightly("cargo");
                cargo.arg("-Zbuild-std=core").current_dir(workspace::root());
                cargo
            }
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Prebuilt(rustc) => write!(f, "{} ({})", rustc.display(), self.reason),
            Kind::Nightly => write!(f, "rustup's nightly ({})", self.reason),
        }
    }
}

/// The version of a rustc that can compile for BPF as it is, or why it can't.
fn usable_prebuilt(rustc: &Path) -> Result<String, String> {
    let version = readable_version(&mut Command::new(rustc))?;
    let library = probe(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))
        .ok_or_else(|| format!("does not know the target {TARGET}"))?;
    let has_core = std::fs::read_dir(&library).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    });
    if has_core {
        Ok(version)
    } else {
        Err(format!("has no core for {TARGET} in {library}"))
    }
}

/// The version of rustup's nightly if it can compile `core`, or why it can't.
fn usable_nightly() -> Result<String, String> {
    let sysroot =
        probe(nightly("rustc").args(["--print", "sysroot"])).ok_or("rustup has no nightly")?;
    if !PathBuf::from(sysroot)
        .join("lib/rustlib/src/rust/library/core")
        .is_dir()
    {
        return Err("it has no rust-src (`rustup +nightly component add rust-src` adds it)".into());
    }
    readable_version(&mut nightly("rustc"))
}

/// "rustc 1.96.0, LLVM 22.1.8", or why the linker could not read what this compiler writes.
fn readable_version(rustc: &mut Command) -> Result<String, String> {
    let text = probe(rustc.arg("-vV")).ok_or("it is not there or does not run")?;
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
    let (Some(release), Some(llvm)) = (field("release: "), field("LLVM version: ")) else {
        return Err("`-vV` names no release and LLVM version".into());
    };
    match check_llvm(llvm) {
        Ok(()) => Ok(format!("rustc {release}, LLVM {llvm}")),
        Err(why) => Err(format!("rustc {release}: {why}")),
    }
}

fn check_llvm(version: &str) -> Result<(), String> {
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .ok_or_else(|| format!("LLVM version {version:?} is not a version"))?;
    // Bitcode can be read by the same or a newer LLVM only.
    if major > LLVM_MAJOR {
        return Err(format!(
            "its LLVM {major} is newer than bpf-linker's LLVM {LLVM_MAJOR}"
        ));
    }
    Ok(())
}

/// A tool of rustup's nightly. Goes through `rustup run`, since the cargo that runs us may not be rustup's proxy.
fn nightly(tool: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", tool]);
    // Being asked must not make rustup download a toolchain, and cargo must not pick up another compiler.
    command.env("RUSTUP_AUTO_INSTALL", "0").env_remove("RUSTC");
    command
}

#[cfg(test)]
mod tests {
    use super::check_llvm;

    #[test]
    fn a_compiler_newer_than_the_linker_is_refused_in_words() {
        assert_eq!(check_llvm("22.1.8"), Ok(()));
        assert_eq!(check_llvm("21.0.0"), Ok(()));
        assert_eq!(
            check_llvm("23.1.0"),
            Err("its LLVM 23 is newer than bpf-linker's LLVM 22".into())
        );
        assert_eq!(
            check_llvm("unknown"),
            Err("LLVM version \"unknown\" is not a version".into())
        );
    }
}
