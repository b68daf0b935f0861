//! `cargo xtask fuzz`: any octets at all, by libFuzzer through the decisions on the host, or by mutation through the programs in
//! the kernel beside them.

mod build;
mod target;

use std::thread;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    build_ebpf,
    setup::{self, tools},
    step::{run as execute, step},
    test::Tally,
    workspace,
};
use target::Target;

/// Seconds of each target in the tests: what was found before is run again, and a little more is looked for.
const BRIEF: u32 = 15;
/// The test that runs packets through the kernel, and the environment variables that it reads.
const AGREEMENT: &str = "agreement::they_agree_on_packets_that_nobody_has_seen";
const PACKETS_VARIABLE: &str = "LB_FUZZ_PACKETS";
const SEED_VARIABLE: &str = "LB_FUZZ_SEED";

/// What `cargo xtask fuzz` takes.
#[derive(Args)]
pub struct Options {
    /// What to run; all that libFuzzer runs if nothing is named
    #[arg(value_enum, value_name = "TARGET")]
    what: Vec<What>,
    /// Seconds for each target of libFuzzer
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
    /// Packets for `agreement`
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    packets: u64,
    /// Seed for `agreement`; another one each time if none is given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write what the targets of libFuzzer begin with, lb-common/fuzz/seeds, anew, and run nothing
    #[arg(long)]
    write_seeds: bool,
}

/// What can be run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Any octets as a frame: what parses lies inside the packet
    Parser,
    /// Any packets one after the other through a populated data plane
    Pipeline,
    /// Any octets as an ICMP error about known flows
    Related,
    /// Changed packets through the loaded programs and the pipeline on the host, which must agree; needs root
    Agreement,
}

impl What {
    fn target(self) -> Option<Target> {
        match self {
            Self::Parser => Some(Target::Parser),
            Self::Pipeline => Some(Target::Pipeline),
            Self::Related => Some(Target::Related),
            Self::Agreement => None,
        }
    }
}

/// Runs what is asked for.
///
/// # Errors
/// If something can't be built, or an input breaks what must hold: its file and its octets were printed.
pub fn run(options: &Options) -> Result<()> {
    if options.write_seeds {
        return build::seeds();
    }
    let mut targets: Vec<Target> = options.what.iter().filter_map(|w| w.target()).collect();
    if options.what.is_empty() {
        targets = Target::ALL.to_vec();
    }
    let mut failures = Vec::new();
    if !targets.is_empty() {
        failures.extend(run_targets(&targets, options.seconds)?);
    }
    if options.what.contains(&What::Agreement)
        && let Err(error) = agreement(options)
    {
        failures.push(format!("{error:#}"));
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

/// The part of the tests: each target of libFuzzer for some seconds, counted as a test.
///
/// # Errors
/// If the targets can't be built or run.
pub fn brief() -> Result<(Tally, Vec<String>)> {
    let failures = run_targets(&Target::ALL, BRIEF)?;
    let failed = failures.len() as u32;
    let mut tally = Tally::default();
    tally.passed = Target::ALL.len() as u32 - failed;
    tally.failed = failed;
    Ok((tally, failures))
}

/// Runs targets side by side; what failed, in words.
fn run_targets(targets: &[Target], seconds: u32) -> Result<Vec<String>> {
    setup::ensure("fuzz", &[tools::FUZZ])?;
    let folder = step(
        "build the targets of libFuzzer (a minute the first time)",
        || build::targets(targets),
    )?;
    let outcomes: Vec<Result<String>> = thread::scope(|scope| {
        let run = |target: &Target| {
            let (target, folder) = (*target, &folder);
            scope.spawn(move || target.run(folder, seconds))
        };
        let threads: Vec<_> = targets.iter().map(run).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a thread panicked"),
        });
        joined.collect()
    });
    let mut failures = Vec::new();
    for (target, outcome) in targets.iter().zip(outcomes) {
        match outcome {
            Ok(text) => println!("fuzz {} ... ok, {text}", target.name()),
            Err(error) => {
                println!("fuzz {} ... FAILED: {error:#}", target.name());
                failures.push(format!("fuzz target {}", target.name()));
            }
        }
    }
    Ok(failures)
}

fn agreement(options: &Options) -> Result<()> {
    if !setup::is_root() {
        bail!("to hold the loaded programs against the pipeline, run it as root");
    }
    setup::ensure("run packets through the programs", &[tools::LAB])?;
    build_ebpf::run()?;
    let mut cargo = workspace::cargo();
    // The whole workspace, as the tests have it: another choice of packages means other features and a second build.
    cargo.args(["test", "--workspace", "--test", "packets", "--"]);
    cargo.args(["--exact", "--nocapture", AGREEMENT]);
    cargo.env(PACKETS_VARIABLE, options.packets.to_string());
    if let Some(seed) = options.seed {
        cargo.env(SEED_VARIABLE, seed.to_string());
    }
    execute(&mut cargo)
}
