//! `cargo xtask demo`: a web application's Services in network namespaces, served by the real agent and told step by step.
//! What is shown is measured; a claim that does not hold makes the verb fail.

mod agent;
mod cluster;
mod endpoints;
mod keep;
mod manifests;
mod servers;
mod services;
mod shell;
mod spread;
mod story;
mod talk;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use lab::Sandbox;

use crate::{
    build_ebpf,
    setup::{self, tools},
    step::{run as execute, step},
    workspace,
};

/// What `cargo xtask demo` takes.
#[derive(Args)]
pub struct Options {
    /// Leave everything up at the end, and say how to look around
    #[arg(long)]
    keep: bool,
    /// Take down what --keep has left up
    #[arg(long, conflicts_with = "keep")]
    down: bool,
    /// The kept demonstration itself, run by the process that clears away after it
    #[arg(long, hide = true, conflicts_with_all = ["keep", "down"])]
    kept_by_parent: bool,
}

/// Builds what is needed, shows the demonstration, and removes it unless it is to be kept.
///
/// # Errors
/// Without root, if something can't be installed, built or started, or if a claim did not hold.
pub fn run(options: &Options) -> Result<()> {
    if !setup::is_root() {
        bail!(
            "the demonstration makes network namespaces and loads BPF programs: run `cargo xtask demo` as root"
        );
    }
    if options.down {
        return keep::take_down();
    }
    if options.kept_by_parent {
        return keep::tell_and_stay(&binary());
    }
    if options.keep {
        keep::refuse_second()?;
        prepare()?;
        return keep::supervise();
    }
    prepare()?;
    let start = Instant::now();
    // From here on nothing that is made is seen by the rest of the machine, and all of it ends with this process.
    Sandbox::enter()?;
    let (cluster, verdict) = story::tell(&binary())?;
    drop(cluster);
    println!(
        "\neverything is removed again; the demonstration took {:.0} s",
        start.elapsed().as_secs_f64()
    );
    verdict.map(|verdict| println!("{verdict}"))
}

/// Before the process becomes private: this needs the machine's network.
fn prepare() -> Result<()> {
    setup::ensure("run the demonstration", &[tools::LAB, tools::SERVERS])?;
    build_ebpf::run()?;
    step("build lb (a few minutes the first time)", || {
        execute(workspace::cargo().args([
            "build",
            "--release",
            "--package",
            "lb-userspace",
            "--bin",
            "lb",
        ]))
    })
}

fn binary() -> PathBuf {
    workspace::root().join("target/release/lb")
}
