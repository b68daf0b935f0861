//! `bench packet`: what a packet costs in the programs, by `BPF_PROG_TEST_RUN`. No device and no stack is in it; that is
//! `bench traffic`'s part.

mod case;
mod counts;
mod document;
mod feeder;
mod frames;
mod map;
mod operations;
mod parts;
mod pods;
mod services;
mod world;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use lab::Sandbox;

use crate::bpf::program::Program;
use crate::machine::{self, Machine};
use case::{Direction, Hot, Packets};
use document::{Results, Settings};
use parts::Part;
use world::World;

/// What `bench packet` takes.
#[derive(Args, Debug)]
pub struct Options {
    /// How many Services there are, each with one endpoint; the sizes are measured interleaved
    #[arg(long, value_delimiter = ',', default_value = "1,100000")]
    services: Vec<u32>,
    /// How often everything is measured
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Packets in each round, where those of a flow that is established run in a loop
    #[arg(long, default_value_t = 500_000)]
    repeat: u32,
    /// Packets in each round, where every packet begins a flow or is fresh
    #[arg(long, default_value_t = 20_000)]
    samples: u32,
    /// Where FILE.md and FILE.json go
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// The command line as it is to stand in the document
    #[arg(long, default_value = "cargo xtask bench packet")]
    command_line: String,
}

/// Measures, prints a table, and writes the document.
///
/// # Errors
/// Without root, or if the kernel refuses a program, a map or a run.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.rounds > 0 && options.repeat > 0 && options.samples > 0,
        "nothing is to be measured"
    );
    // From here on no pin that is made is seen by the rest of the machine.
    let sandbox = Sandbox::enter()?;
    let device = pods::enter_beside_a_device()?;
    let empty = Program::empty()?;
    let mut worlds = Vec::new();
    for services in &options.services {
        worlds.push(World::usual(sandbox.bpffs(), *services)?);
        worlds.push(World::redirecting(sandbox.bpffs(), *services, device)?);
        worlds.push(World::roomy(sandbox.bpffs(), *services, options)?);
    }
    worlds.push(World::lru(sandbox.bpffs(), 1)?);
    worlds.push(World::full(sandbox.bpffs(), 1)?);
    let parts = parts::all(device)?;
    let mut results = Results {
        command: options.command_line.clone(),
        machine: Machine::here()?,
        settings: Settings {
            rounds: options.rounds,
            repeat: options.repeat,
            samples: options.samples,
        },
        load_averages: Vec::new(),
        verified: worlds[0].verified(),
        rows: worlds.iter().flat_map(World::rows).collect(),
        parts: parts.iter().map(Part::cost).collect(),
    };
    let frame = frames::packet(
        Packets::Hot(Direction::FromPod, Hot::Established),
        0,
        services::vips(0)[0],
    );
    for number in 1..=options.rounds {
        let load = machine::load_average()?;
        results.load_averages.push(load);
        let mut row = 0;
        for world in &mut worlds {
            world.load_again()?;
            for case in 0..world.cases() {
                let cost = world.measure(case, &empty, options)?;
                results.rows[row].nanoseconds.push(cost);
                row += 1;
            }
        }
        for (part, cost) in parts.iter().zip(&mut results.parts) {
            let measured = part.measure(&empty, &frame, options.repeat)?;
            cost.nanoseconds.push(measured);
        }
        println!(
            "    round {number} of {}, load before {load}",
            options.rounds
        );
    }
    document::write(&results, &options.document)?;
    println!("\n{}", document::tables(&results));
    println!("written to {}.md and .json", options.document.display());
    Ok(())
}
