//! The commands of the project, `cargo xtask <verb>`: this file names the verbs, one module each does the work.

mod bench;
mod build_ebpf;
mod ci;
mod cluster;
#[cfg(test)]
mod comparison;
mod demo;
mod fuzz;
mod kernels;
mod setup;
mod step;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything a developer does here beyond plain cargo
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Compile the BPF object into target/bpf/lb-ebpf.o, its toolchain included
    BuildEbpf,
    /// Show a web application's Services at work, in network namespaces; --keep leaves it up
    Demo(demo::Options),
    /// Start or stop a real Kubernetes cluster in network namespaces
    Cluster(cluster::Options),
    /// Run every level of tests, or only the named ones
    Test(test::Options),
    /// Look for octets that break what must hold of any, on the host and in the kernel
    Fuzz(fuzz::Options),
    /// Measure the data plane beside kube-proxy
    Bench(bench::Options),
    /// Check formatting and lints, then run every level of tests
    Ci,
    /// Install the host tools that a verb needs; the verbs do this by themselves
    Setup(setup::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::BuildEbpf => build_ebpf::run().map(drop),
        Verb::Demo(options) => demo::run(&options),
        Verb::Cluster(options) => cluster::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Ci => ci::run(),
        Verb::Setup(options) => setup::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
