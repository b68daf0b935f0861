//! `cargo xtask test`: prepares the host and the BPF object, then runs the levels of tests one after the other.
//! A level that fails does not keep the next one from running; a level in which no test ran has failed.

mod level;
mod tally;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum as _};

use crate::{
    build_ebpf, cluster, fuzz,
    kernels::{self, Release},
    setup::{self, tools},
    step::{run as execute, step},
    workspace,
};
use level::Level;
pub use tally::Tally;

/// What `cargo xtask test` takes.
#[derive(Args, Default)]
pub struct Options {
    /// Levels to run; all of them if none is named
    #[arg(value_enum, value_name = "LEVEL")]
    levels: Vec<Level>,
    /// Kernels of the level of that name, alone where no level is named: any of 5.10, 6.1, 6.12 and newest, all if none is
    /// named; a run without this takes 5.10 and newest
    #[arg(long, value_enum, value_name = "KERNEL", num_args = 0.., value_delimiter = ',')]
    kernels: Option<Vec<Release>>,
}

impl Options {
    fn levels(&self) -> Vec<Level> {
        if self.kernels.is_none() {
            return level::selected(&self.levels);
        }
        level::selected(&[&self.levels[..], &[Level::Kernels]].concat())
    }

    fn kernels(&self) -> Vec<Release> {
        let mut kernels = match &self.kernels {
            None => Release::USUAL.to_vec(),
            Some(named) if named.is_empty() => Release::value_variants().to_vec(),
            Some(named) => named.clone(),
        };
        kernels.sort_unstable();
        kernels.dedup();
        kernels
    }
}

struct Report {
    level: Level,
    tally: Tally,
    /// What went wrong, if the level failed.
    failure: Option<String>,
    took: Duration,
}

/// Runs the levels and prints a summary.
///
/// # Errors
/// If a level needs root and this is not root, if the preparation fails, or if a level failed: the message names which.
pub fn run(options: &Options) -> Result<()> {
    let levels = options.levels();
    let kernels = options.kernels();
    check_privileges(&levels)?;
    prepare(&levels, &kernels)?;

    let reports: Vec<_> = levels
        .into_iter()
        .map(|level| run_level(level, &kernels))
        .collect();
    print_summary(&reports);
    let failed: Vec<_> = reports
        .iter()
        .filter(|report| report.failure.is_some())
        .map(|r| r.level.name())
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn check_privileges(levels: &[Level]) -> Result<()> {
    let privileged: Vec<_> = levels
        .iter()
        .filter(|level| level.needs_root())
        .map(|level| level.name())
        .collect();
    if !privileged.is_empty() && !setup::is_root() {
        bail!(
            "these levels load BPF programs and make network namespaces, which needs root: {}. \
             Run `cargo xtask test` as root, or `cargo xtask test host` without",
            privileged.join(", ")
        );
    }
    Ok(())
}

fn prepare(levels: &[Level], kernels: &[Release]) -> Result<()> {
    if levels.iter().any(|level| level.needs_root()) {
        setup::ensure("run the tests", &[tools::LAB])?;
    }
    if levels.contains(&Level::Kernels) {
        kernels::prepare(kernels)?;
    }
    build_ebpf::run()?;
    // Unoptimised, since the tests' own dependencies are the same ones, and are then compiled once.
    // Every command here names the whole workspace: another choice of packages means other features and a second build.
    step("build lb (a few minutes the first time)", || {
        execute(workspace::cargo().args(["build", "--workspace", "--bin", "lb"]))
    })?;
    if levels.iter().any(|level| level.needs_control_plane()) {
        cluster::build()?;
    }
    Ok(())
}

fn run_level(level: Level, releases: &[Release]) -> Report {
    println!("\n##### {}: {} #####", level.name(), level.about());
    let start = Instant::now();
    let (tally, mut failures) = match level {
        Level::Fuzz => fuzz::brief().unwrap_or_else(|error| {
            let failures = vec![format!("{error:#}")];
            (Tally::default(), failures)
        }),
        Level::Kernels => {
            let mut tally = Tally::default();
            let failure = kernels::run(releases, &mut tally).err();
            let failures = failure.map(|error| format!("{error:#}"));
            (tally, failures.into_iter().collect())
        }
        _ => run_commands(level),
    };
    if failures.is_empty() && tally.passed == 0 {
        failures.push("no test ran".into());
    }
    let failure = (!failures.is_empty()).then(|| failures.join("; "));
    Report {
        level,
        tally,
        failure,
        took: start.elapsed(),
    }
}

/// The results of a level that is cargo tests, and what went wrong.
fn run_commands(level: Level) -> (Tally, Vec<String>) {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for arguments in level.commands() {
        let mut cargo = workspace::cargo();
        cargo.args(["test", "--no-fail-fast"]).args(*arguments);
        if let Err(error) = tally.run(&mut cargo, &mut std::io::stdout().lock()) {
            failures.push(format!("{error:#}"));
        }
    }
    (tally, failures)
}

/// The levels, their results, and what the failed tests said.
fn print_summary(reports: &[Report]) {
    println!("\n##### summary #####");
    let mut total = Tally::default();
    let mut took = Duration::ZERO;
    for Report {
        level,
        tally,
        failure,
        took: time,
    } in reports
    {
        let verdict = if failure.is_some() { "FAILED" } else { "ok" };
        println!(
            "{:<11} {verdict:<6} {tally}, {:>6.1} s",
            level.name(),
            time.as_secs_f64()
        );
        if let Some(failure) = failure {
            println!("            {failure}");
        }
        total += tally.clone();
        took += *time;
    }
    println!("{:<18} {total}, {:>6.1} s", "total", took.as_secs_f64());
    for failure in &total.failures {
        println!("\n{}", failure.trim_end());
    }
}
