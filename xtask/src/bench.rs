//! `cargo xtask bench`: measures the data plane, by itself and beside kube-proxy. What it does is in `xtask/bench`, which is a program of its
//! own, since this one would take minutes to build with a Kubernetes client in it; here stands what it needs from the machine.

mod tools;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::{
    build_ebpf,
    setup::{self, tools as host},
    step::{run as execute, step},
    workspace,
};

/// What `cargo xtask bench` takes.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// How fast, and at what cost, Services and changes of endpoints come from the API into the kernel; writes
    /// docs/benchmarks/control-plane.md
    ControlPlane(Measurement),
    /// What a packet costs in the programs, in nanoseconds over a program that does nothing; writes docs/benchmarks/packet.md
    Packet(Measurement),
    /// What a request and a stream cost from pod to pod, beside kube-proxy and no load balancer; writes docs/benchmarks/traffic.md
    Traffic(Measurement),
    /// Draws the charts in docs/benchmarks again, from the results beside them
    Charts,
    /// What the agent's own work costs, from a source's event to the maps: runs the benchmarks of lb-userspace by criterion; writes
    /// docs/benchmarks/userspace.md
    Userspace(Measurement),
}

#[derive(Args)]
struct Measurement {
    /// Where the document goes, without an ending; by default it is the one in docs/benchmarks
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Everything else, such as `--services 2000,10000 --rounds 7`; `--help` after `--` tells all
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTION"
    )]
    rest: Vec<String>,
}

/// Builds what is measured and what measures, and runs it.
///
/// # Errors
/// Without root, if something can't be installed or built, or if the measurement fails.
pub fn run(options: &Options) -> Result<()> {
    let draws = matches!(options.what, What::Charts);
    if !draws && !setup::is_root() {
        bail!("to measure, it makes network namespaces and loads BPF programs: run it as root");
    }
    match &options.what {
        What::ControlPlane(options) => beside_kube_proxy("control-plane", options, &[]),
        What::Packet(options) => packet(options),
        What::Traffic(options) => beside_kube_proxy("traffic", options, host::PROFILE),
        What::Charts => charts(),
        What::Userspace(options) => userspace(options),
    }
}

/// What needs the real kube-proxy, its tools, and an agent's program that is made for users.
fn beside_kube_proxy(name: &str, options: &Measurement, more: &'static [host::Tool]) -> Result<()> {
    setup::ensure("measure", &[host::LAB, host::BENCH, more])?;
    let keep = workspace::root().join("target/bench");
    let tools = tools::prepare(&keep)?;
    build_ebpf::run()?;
    step("build lb, optimised (a few minutes the first time)", || {
        execute(workspace::cargo().args([
            "build",
            "--release",
            "--package",
            "lb-userspace",
            "--bin",
            "lb",
        ]))
    })?;
    let mut command = measurer(name, options)?;
    command.arg("--keep").arg(&keep);
    command
        .arg("--lb")
        .arg(workspace::root().join("target/release/lb"));
    command.arg("--nft").arg(tools.nft);
    command.arg("--iptables").arg(tools.iptables);
    command.arg("--iptables-nft").arg(tools.iptables_nft);
    execute(command.args(&options.rest))
}

fn packet(options: &Measurement) -> Result<()> {
    setup::ensure("measure", &[host::LAB])?;
    build_ebpf::run()?;
    let mut command = measurer("packet", options)?;
    execute(command.args(&options.rest))
}

fn charts() -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--package", "bench", "--", "charts"]);
    let directory = workspace::root().join("docs/benchmarks");
    execute(command.arg("--directory").arg(directory))
}

/// Options that follow go to criterion, such as a name to filter by.
fn userspace(options: &Measurement) -> Result<()> {
    setup::ensure("measure", &[host::LAB])?;
    build_ebpf::run()?;
    let figures = workspace::root().join("target/bench/criterion");
    if figures.exists() {
        // What is left of an earlier run is no figure of this one.
        fs::remove_dir_all(&figures).with_context(|| figures.display().to_string())?;
    }
    let mut benchmarks = workspace::cargo();
    benchmarks.args(["bench", "--package", "lb-userspace", "--bench", "userspace"]);
    benchmarks.arg("--").args(&options.rest);
    execute(benchmarks.env("CRITERION_HOME", &figures))?;
    let mut command = measurer("userspace", options)?;
    execute(command.arg("--criterion").arg(figures))
}

/// The program that measures, built, with the arguments that each measurement takes.
fn measurer(name: &str, options: &Measurement) -> Result<Command> {
    step("build what measures", || {
        execute(workspace::cargo().args(["build", "--package", "bench"]))
    })?;
    let document = options
        .document
        .clone()
        .unwrap_or_else(|| workspace::root().join("docs/benchmarks").join(name));
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--package", "bench", "--", name]);
    command.arg("--document").arg(document);
    command.args(["--command-line", &command_line()]);
    Ok(command)
}

/// As it was typed.
fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", words.join(" "))
}
