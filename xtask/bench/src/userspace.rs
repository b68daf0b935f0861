//! `bench userspace`: what the agent's stages cost by themselves. Criterion measures, in `lb-userspace/benches`; here its figures are
//! read and become the document.

mod document;
mod goals;
mod measured;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use crate::machine::{self, Machine};
use document::Results;

/// What `bench userspace` takes.
#[derive(Args, Debug)]
pub struct Options {
    /// Where criterion has left its figures (its CRITERION_HOME)
    #[arg(long, value_name = "DIRECTORY")]
    criterion: PathBuf,
    /// Where FILE.md and FILE.json go
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// The command line as it is to stand in the document
    #[arg(long, default_value = "cargo xtask bench userspace")]
    command_line: String,
}

/// Prints a table of what was measured, and writes the document.
///
/// # Errors
/// If nothing was measured, or criterion's files are not what they were.
pub fn run(options: &Options) -> Result<()> {
    let measured = measured::read(&options.criterion)?;
    ensure!(
        !measured.is_empty(),
        "criterion has left no figures in {}",
        options.criterion.display()
    );
    let results = Results {
        command: options.command_line.clone(),
        machine: Machine::here()?,
        load_average: machine::load_average()?,
        measured,
    };
    document::write(&results, &options.document)?;
    println!("\n{}", document::table(&results));
    println!("written to {}.md and .json", options.document.display());
    Ok(())
}
