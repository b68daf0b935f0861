//! Host tools: looks for what a verb needs and installs what is missing, on Debian and as root; else says how.
//! It installs packages only; it never starts or enables a service.

pub mod apt;
mod policy;
pub mod tools;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::step::step;
use tools::Tool;

/// What `cargo xtask setup` takes.
#[derive(Args)]
pub struct Options {
    /// What the tools are for
    #[arg(value_enum, default_value = "demo")]
    purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// Compiler and LLVM for the BPF object, whether or not other ones are there
    Build,
    /// What the tests need besides
    Test,
    /// What the demonstration needs besides
    Demo,
    /// What the benchmarks need besides
    Bench,
}

/// Installs what is missing for a purpose.
///
/// # Errors
/// Those of [`ensure`].
pub fn run(options: &Options) -> Result<()> {
    match options.purpose {
        Purpose::Build => ensure("build the BPF object", &[tools::BPF_COMPILER, tools::LLVM]),
        Purpose::Test => ensure("run the tests", &[tools::LAB, tools::KERNELS]),
        Purpose::Bench => ensure("measure", &[tools::LAB, tools::BENCH]),
        Purpose::Demo => ensure("run the demonstration", &[tools::LAB, tools::SERVERS]),
    }
}

/// Makes sure that every tool of the lists is there. Says nothing and does nothing if they are.
/// `purpose` is a verb with its object, such as "run the tests".
///
/// # Errors
/// If one is missing and can't be installed (not root, not Debian, or apt fails): the message holds the command to type.
pub fn ensure(purpose: &str, lists: &[&'static [Tool]]) -> Result<()> {
    let missing = || {
        lists
            .iter()
            .copied()
            .flatten()
            .filter(|tool| !tool.is_present())
    };
    let packages = tools::packages(missing());
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    let command = apt::command_line(&packages);
    if !apt::available() {
        bail!(
            "to {purpose}, install what these packages of Debian hold: {names} (on Debian, `{command}`)"
        );
    }
    if !is_root() {
        bail!(
            "to {purpose}, these packages are missing: {names}; install them as root: `{command}`"
        );
    }
    let services: Vec<_> = missing().filter_map(|tool| tool.service).collect();
    step(
        &format!("install, to {purpose}: {names} (seconds to minutes, as the network goes)"),
        || {
            apt::install(&packages)?;
            services
                .iter()
                .try_for_each(|service| apt::disable_service(service))
        },
    )?;
    let left = tools::packages(missing());
    if !left.is_empty() {
        bail!(
            "installed, but still without what they should bring: {}",
            left.join(" ")
        );
    }
    Ok(())
}

/// Whether this process may do anything on the host.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
