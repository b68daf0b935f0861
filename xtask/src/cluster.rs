//! `cargo xtask cluster`: a real cluster to play with, without containers. What it does is in `xtask/cluster`, which
//! is a program of its own, since this one would take minutes to build with a Kubernetes client in it.

use std::process::Command;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use lab::Sandbox;

use crate::{
    setup::{self, tools},
    step::run as execute,
    workspace,
};

/// What the names of its namespaces begin with.
const PREFIX: &str = "lb-cluster-";

/// What `cargo xtask cluster` takes.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Copy, Subcommand)]
enum Action {
    /// Start a control plane and two nodes, and leave them up
    Up,
    /// Take down what `up` has started
    Down,
    /// Only build their programs, which takes minutes the first time
    Build,
}

/// Builds the cluster's program and runs it.
///
/// # Errors
/// Without root, if something can't be installed or built, or if the cluster does not come up or go away.
pub fn run(options: &Options) -> Result<()> {
    match options.action {
        Action::Up => {
            require_root("up")?;
            setup::ensure("run a cluster", &[tools::LAB])?;
            execute(program()?.args(["up", PREFIX]))
        }
        Action::Down => {
            require_root("down")?;
            take_down()
        }
        Action::Build => build(),
    }
}

/// Builds etcd, the API server and what else a control plane consists of, where they are not there yet.
///
/// # Errors
/// If Go is missing or too old, or if something can't be built; the message says what to do.
pub fn build() -> Result<()> {
    execute(program()?.arg("build"))
}

/// Needs no build, so it works whatever has become of the code meanwhile.
fn take_down() -> Result<()> {
    let torn = Sandbox::teardown(PREFIX)?;
    if torn.namespaces.is_empty() {
        println!("no cluster is up");
    } else {
        println!(
            "took down {} namespaces and {} processes",
            torn.namespaces.len(),
            torn.processes
        );
    }
    Ok(())
}

fn require_root(action: &str) -> Result<()> {
    if !setup::is_root() {
        bail!(
            "the cluster is made of network namespaces: run `cargo xtask cluster {action}` as root"
        );
    }
    Ok(())
}

/// The cluster's program, up to date.
fn program() -> Result<Command> {
    // With the whole workspace's features, as the tests have it: everything is compiled once.
    let build = ["build", "--quiet", "--workspace", "--bin", "cluster"];
    execute(workspace::cargo().args(build))?;
    Ok(Command::new(workspace::root().join("target/debug/cluster")))
}
