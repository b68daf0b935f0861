//! The program behind `cargo xtask bench`: measures the data plane, by itself and beside kube-proxy, in namespaces of its own. It
//! is a program of its own, so that the other verbs are built without a Kubernetes client.

mod bpf;
mod chart;
mod control_plane;
mod document;
mod machine;
mod numbers;
mod packet;
mod traffic;
mod userspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// How fast, and at what cost, Services and changes of endpoints come from the API into the kernel
    ControlPlane(control_plane::Options),
    /// What a packet costs in the programs, without device and stack
    Packet(packet::Options),
    /// What a request and a stream cost from pod to pod, beside kube-proxy and no load balancer
    Traffic(traffic::Options),
    /// Draws the charts of results that are there
    Charts(chart::Options),
    /// The other end of `traffic`, in a pod
    #[command(hide = true)]
    TrafficServer(traffic::server::Options),
    /// What the agent's stages cost by themselves, from criterion's figures
    Userspace(userspace::Options),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.verb {
        Verb::ControlPlane(options) => control_plane::run(options),
        Verb::Packet(options) => packet::run(options),
        Verb::Traffic(options) => traffic::run(options),
        Verb::Charts(options) => chart::run(options),
        Verb::TrafficServer(options) => traffic::server::run(options),
        Verb::Userspace(options) => userspace::run(options),
    }
}
