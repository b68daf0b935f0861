//! Which bpf-linker links the object: the cached one below target/ if it is of the right version, else one built there.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    setup::{self, tools},
    step::{probe, run, step},
    workspace,
};

/// The LLVM that bpf-linker is built on; compilers with a newer one can't be used.
pub const LLVM_MAJOR: u32 = 22;
const VERSION: &str = "0.13.0";
/// Environment variable with the path of a bpf-linker to use instead.
const LINKER_VARIABLE: &str = "LB_BPF_LINKER";
/// Environment variable with the installation prefix of LLVM, which bpf-linker's own build reads too.
const LLVM_VARIABLE: &str = "LLVM_PREFIX";

/// A linker, and why it was chosen.
pub struct Linker {
    /// The program.
    pub path: PathBuf,
    /// For the user, in words.
    pub reason: String,
}

/// Finds bpf-linker, or builds it, with LLVM installed before if need be.
///
/// # Errors
/// If LLVM is missing and can't be installed, with what to install, or if the build fails.
pub fn resolve() -> Result<Linker> {
    if let Some(path) = env::var_os(LINKER_VARIABLE).map(PathBuf::from) {
        let version = version(&path).ok_or_else(|| {
            anyhow!(
                "{LINKER_VARIABLE}={}: `--version` does not name bpf-linker",
                path.display()
            )
        })?;
        return Ok(Linker {
            path,
            reason: format!("{version}, named by {LINKER_VARIABLE}"),
        });
    }
    let path = workspace::bpf_linker_root().join("bin/bpf-linker");
    match version(&path) {
        Some(cached) if cached == VERSION => {
            return Ok(Linker {
                path,
                reason: format!("{VERSION}, cached"),
            });
        }
        Some(other) => println!("the cached bpf-linker is {other}, needed is {VERSION}"),
        None => {}
    }
    build()?;
    match version(&path) {
        Some(built) if built == VERSION => Ok(Linker {
            path,
            reason: format!("{VERSION}, just built"),
        }),
        _ => bail!(
            "{} was built but does not run: is LLVM {LLVM_MAJOR}'s library where it was?",
            path.display()
        ),
    }
}

/// The version that a bpf-linker says it is.
fn version(path: &Path) -> Option<String> {
    let text = probe(Command::new(path).arg("--version"))?;
    Some(text.strip_prefix("bpf-linker ")?.to_owned())
}

fn build() -> Result<()> {
    let prefix = llvm_prefix()?;
    let mut search = vec![prefix.join("bin")];
    search.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let path = env::join_paths(search).context("PATH cannot be extended by LLVM's programs")?;
    step(
        &format!("build bpf-linker {VERSION} into target/bpf-linker, once (about a minute)"),
        || {
            run(workspace::cargo()
                .args([
                    "install",
                    "bpf-linker",
                    "--version",
                    VERSION,
                    "--locked",
                    "--force",
                ])
                .args([
                    "--no-default-features",
                    "--features",
                    &format!("llvm-{LLVM_MAJOR}"),
                ])
                .arg("--root")
                .arg(workspace::bpf_linker_root())
                .env("PATH", path)
                .env(LLVM_VARIABLE, &prefix))
        },
    )
}

/// Where LLVM is installed with what is needed to build against it.
fn llvm_prefix() -> Result<PathBuf> {
    if let Some(prefix) = env::var_os(LLVM_VARIABLE).map(PathBuf::from) {
        return match llvm_of(&prefix.join("bin/llvm-config")) {
            Some((LLVM_MAJOR, prefix)) => Ok(prefix),
            Some((other, _)) => bail!(
                "{LLVM_VARIABLE}={} is LLVM {other}, needed is {LLVM_MAJOR}",
                prefix.display()
            ),
            None => bail!(
                "{LLVM_VARIABLE}={} has no bin/llvm-config that runs",
                prefix.display()
            ),
        };
    }
    if !setup::apt::available() {
        for name in [format!("llvm-config-{LLVM_MAJOR}"), "llvm-config".into()] {
            if let Some((LLVM_MAJOR, prefix)) = llvm_of(Path::new(&name)) {
                return Ok(prefix);
            }
        }
    }
    setup::ensure("build bpf-linker", &[tools::LLVM]).map_err(|error| {
        anyhow!(
            "{error:#}\n\
             or get LLVM {LLVM_MAJOR} with headers, static Polly and zstd's headers (https://apt.llvm.org) and say where: {LLVM_VARIABLE}=<prefix>\n\
             or name a bpf-linker {VERSION}: {LINKER_VARIABLE}=<path>"
        )
    })?;
    Ok(PathBuf::from(format!("/usr/lib/llvm-{LLVM_MAJOR}")))
}

/// Major version and prefix, as an llvm-config says.
fn llvm_of(config: &Path) -> Option<(u32, PathBuf)> {
    let version = probe(Command::new(config).arg("--version"))?;
    let prefix = probe(Command::new(config).arg("--prefix"))?;
    Some((version.split('.').next()?.parse().ok()?, prefix.into()))
}
