//! `bench control-plane`: from the API to the kernel. Each data plane runs alone on a fresh node against the same API server, in
//! rounds; what a round consists of is `round`'s business.

mod changes;
mod document;
mod meter;
mod probe;
mod programmed;
mod quiet;
mod round;
mod scrape;
mod site;

pub mod fill;
pub mod goals;
pub mod proxy;
pub mod results;
pub mod usage;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use lab::Sandbox;

use crate::machine::{self, Machine};
use proxy::{Kind, Programs};
use results::{Results, Size};
use site::Site;

/// What `bench control-plane` takes.
#[derive(Args, Debug)]
pub struct Options {
    /// How many Services there are, with three endpoints each; the sizes are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "2000,10000")]
    services: Vec<u32>,
    /// How often each data plane is started anew
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Which data planes to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::DEFAULT)]
    proxy: Vec<Kind>,
    /// Changes of one endpoint in each round while nothing else changes; lb, which needs no rest after each, makes five times
    /// as many
    #[arg(long, default_value_t = 10)]
    changes: u32,
    /// Changes of other endpoints a second while that is measured again
    #[arg(long, default_value_t = 10)]
    churn: u32,
    /// How long that lasts in each round, in seconds
    #[arg(long, default_value_t = 15)]
    churn_seconds: u32,
    /// How long nothing changes, in each round, in seconds
    #[arg(long, default_value_t = 10)]
    idle_seconds: u32,
    /// Where FILE.md and FILE.json go
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// The directory that keeps what is made once: filled etcd directories
    #[arg(long, value_name = "DIR")]
    keep: PathBuf,
    #[command(flatten)]
    programs: Programs,
    /// The command line as it is to stand in the document
    #[arg(long, default_value = "cargo xtask bench control-plane")]
    command_line: String,
}

/// Measures, prints a table, and writes the document.
///
/// # Errors
/// Without root or a program, when the cluster does not come up, or when a data plane does not serve.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        !options.proxy.is_empty() && options.rounds > 0,
        "nothing is to be measured"
    );
    let versions = options.programs.versions(&options.proxy)?;
    // Before there are threads. From here on nothing that is made is seen by the rest of the machine.
    Sandbox::enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut results = Results {
        command: options.command_line.clone(),
        machine: Machine::here()?,
        versions,
        settings: results::Settings::of(options),
        sizes: Vec::new(),
    };
    for &services in &options.services {
        let data = fill::data(&options.keep, services, &runtime)?;
        let site = Site::start(services, &data, &runtime)?;
        let mut size = Size::new(services);
        for number in 1..=options.rounds {
            for &kind in &options.proxy {
                let start = Instant::now();
                let load = machine::load_average()?;
                let mut round = round::run(&site, kind, options)?;
                round.load_average = load;
                println!(
                    "    {services} Services, round {number} of {}, {}: {} ({:.0} s, load before {load})",
                    options.rounds,
                    kind.name(),
                    round.summary(),
                    start.elapsed().as_secs_f64(),
                );
                size.add(kind, round);
            }
        }
        site.stop()?;
        results.sizes.push(size);
        // After each size, so that a run that is broken off leaves what it has.
        document::write(&results, &options.document)?;
    }
    println!("\n{}", document::tables(&results));
    println!("written to {}.md and .json", options.document.display());
    Ok(())
}
