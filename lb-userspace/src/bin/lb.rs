//! The one binary.

use std::process::ExitCode;

use clap::Parser;
use lb_userspace::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lb: {error:#}");
            ExitCode::FAILURE
        }
    }
}
