//! The program behind `cargo xtask cluster`: a program of its own, so that the other verbs are built without it. Removing what stays
//! up is the verb's own part.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use cluster::{binaries, kept};

#[derive(Parser)]
#[command(name = "cluster", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a cluster that stays up
    Up(Name),
    /// Only build the control plane's programs
    Build,
    /// The process that stays up
    #[command(hide = true)]
    Keep(Name),
}

#[derive(Args)]
struct Name {
    /// What the names of its namespaces begin with
    prefix: String,
}

fn main() -> ExitCode {
    match run(&Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Up(name) => kept::up(&name.prefix),
        Verb::Build => {
            println!("{}", binaries::build()?.display());
            Ok(())
        }
        Verb::Keep(name) => kept::keep(&name.prefix).map(|never| match never {}),
    }
}
