//! `bench traffic`: what a request and a stream cost from pod to pod, through the host's stack alone, through kube-proxy's rules,
//! and through this project's data plane in each of its modes, in one run.

mod agent;
mod beside;
mod busy;
mod client;
mod document;
mod goals;
mod idle;
mod kube_proxy;
mod profile;
mod rig;
mod service;
mod socket;
mod tables;
mod testbed;

pub mod mode;
pub mod results;
pub mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use lab::Sandbox;
use tokio::runtime::Runtime;

use crate::control_plane::proxy::{Kind, Programs};
use crate::machine::{self, Machine};
use mode::{Mode, Place, Plane, Workload};
use results::{Results, Row, Settings};
use rig::Rig;
use testbed::Testbed;

/// What a measurement takes beside the time that it measures.
const BESIDE: Duration = Duration::from_millis(25);

/// What a mode takes until it is up, on average: most of it is kube-proxy's, with many Services.
const COMING_UP: Duration = Duration::from_secs(6);

/// What `bench traffic` takes.
#[derive(Args, Debug)]
pub struct Options {
    /// How often everything is measured
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// How long each measurement takes, in milliseconds
    #[arg(long, default_value_t = 500)]
    milliseconds: u64,
    /// Which data planes to measure; direct always is
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Plane::DEFAULT)]
    only: Vec<Plane>,
    /// How many Services there are for lb beside the two that are measured; 1 stands for these two alone
    #[arg(long, value_delimiter = ',', default_value = "1,100000")]
    services: Vec<u32>,
    /// The same for kube-proxy
    #[arg(long, value_delimiter = ',', default_value = "1,1000,10000")]
    proxy_services: Vec<u32>,
    /// The processor of clients and servers; by default the last one
    #[arg(long)]
    cpu: Option<usize>,
    /// Where FILE.md and FILE.json go
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// The directory that keeps what is made once: filled etcd directories
    #[arg(long, value_name = "DIR")]
    keep: PathBuf,
    #[command(flatten)]
    programs: Programs,
    /// The command line as it is to stand in the document
    #[arg(long, default_value = "cargo xtask bench traffic")]
    command_line: String,
}

/// Measures, prints tables, and writes the document.
///
/// # Errors
/// Without root or a program, when a data plane does not come up or a packet takes another way than it should, and with the first
/// transaction that goes wrong.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        options.rounds > 0 && options.milliseconds > 0,
        "nothing is to be measured"
    );
    let machine = Machine::here()?;
    let cpu = options.cpu.unwrap_or(machine.cpus - 1);
    let kinds: Vec<Kind> = options
        .only
        .iter()
        .filter_map(|plane| kube_proxy::kind(*plane))
        .collect();
    let mut versions = options.programs.versions(&[Kind::Lb])?;
    versions.extend(options.programs.versions(&kinds)?);
    // Before there are threads. From here on nothing that is made is seen by the rest of the machine.
    Sandbox::enter()?;
    let modes = Mode::all(&options.only, &options.services, &options.proxy_services);
    let mut results = Results {
        command: options.command_line.clone(),
        machine,
        versions,
        settings: Settings {
            rounds: options.rounds,
            milliseconds: options.milliseconds,
            cpu,
        },
        load_averages: Vec::new(),
        retransmitted: 0,
        rows: rows(&modes),
        profiles: Vec::new(),
    };
    let time = Duration::from_millis(options.milliseconds);
    let cells = results.rows.len() as u32;
    let measuring = (time + BESIDE) * cells * options.rounds;
    println!(
        "==> {cells} measurements of {} ms in each of {} rounds: {:.0} min, and some {:.0} min until all data planes are up",
        options.milliseconds,
        options.rounds,
        measuring.as_secs_f64() / 60.0,
        (COMING_UP * modes.len() as u32).as_secs_f64() / 60.0
    );
    profile::check(cpu)?;
    let rigs = rigs(options, &modes, cpu)?;
    for number in 1..=options.rounds {
        let start = Instant::now();
        let load = machine::load_average()?;
        results.load_averages.push(load);
        round(&mut results, &rigs, number as usize, time)?;
        println!(
            "    round {number} of {} ({:.0} s, load before {load}); local RR: {}",
            options.rounds,
            start.elapsed().as_secs_f64(),
            results.last_round()
        );
    }
    results.profiles = profile::take(&modes, &rigs, cpu)?;
    for rig in &rigs {
        rig.testbed.assert_no_checksum_errors()?;
        results.retransmitted += rig.testbed.retransmitted()?;
    }
    document::write(&results, &options.document)?;
    println!("\n{}", tables::tables(&results));
    println!("written to {}.md and .json", options.document.display());
    Ok(())
}

/// A row for each measurement, without samples: all modes of a place and a workload together, as they are compared.
fn rows(modes: &[Mode]) -> Vec<Row> {
    let mut rows = Vec::new();
    for place in Place::ALL {
        for workload in Workload::ALL {
            let measured = modes
                .iter()
                .filter(|mode| mode.is_measured(place, workload));
            rows.extend(measured.map(|mode| Row {
                mode: *mode,
                place,
                workload,
                samples: Vec::new(),
            }));
        }
    }
    rows
}

/// Measures everything once: what is compared right after each other, each round in another order.
fn round(results: &mut Results, rigs: &[Rig], number: usize, time: Duration) -> Result<()> {
    for rows in results
        .rows
        .chunk_by_mut(|one, next| (one.place, one.workload) == (next.place, next.workload))
    {
        let count = rows.len();
        for index in 0..count {
            let row = &mut rows[turn(index, number, count)];
            let rig = rigs.iter().find(|rig| rig.is_of(row.mode));
            let Some(rig) = rig else {
                anyhow::bail!("{} has no testbed", row.mode.name());
            };
            let sample = rig.measure(row.mode, row.place, row.workload, time)?;
            row.samples.push(sample);
        }
    }
    Ok(())
}

/// Who of `count` is measured when: each round begins elsewhere, and every second one goes backwards.
fn turn(index: usize, round: usize, count: usize) -> usize {
    let forwards = (index + round * (count / 3 + 1)) % count;
    if round.is_multiple_of(2) {
        count - 1 - forwards
    } else {
        forwards
    }
}

/// All data planes, at work side by side.
fn rigs(options: &Options, modes: &[Mode], cpu: usize) -> Result<Vec<Rig>> {
    let mut rigs: Vec<Rig> = Vec::new();
    for mode in modes {
        if rigs.iter().any(|rig| rig.is_of(*mode)) {
            continue;
        }
        let name = format!("traffic-{}", rigs.len());
        let testbed = Testbed::build(&name, cpu)?;
        let mut rig = Rig {
            plane: mode.plane,
            services: mode.services,
            vips: None,
            agents: None,
            links: Vec::new(),
            testbed,
        };
        if mode.plane == Plane::Idle {
            rig.links = idle::attach(&rig.testbed)?;
        }
        if mode.plane.is_lb() {
            let others = if mode.services > 1 { mode.services } else { 0 };
            let lb = options.programs.lb();
            rig.agents = Some(agent::start(lb, mode.plane, others, &rig.testbed, &name)?);
            rig.vips = Some(Place::ALL.map(service::vip));
        }
        rigs.push(rig);
    }
    let runtime = Runtime::new()?;
    for services in &options.proxy_services {
        write_rules(options, *services, &mut rigs, &runtime)?;
    }
    for rig in &rigs {
        rig.settle()?;
        println!(
            "    {} with {} Services is up",
            rig.plane.name(),
            rig.services
        );
    }
    Ok(rigs)
}

/// The rules of kube-proxy for one number of Services.
fn write_rules(
    options: &Options,
    services: u32,
    rigs: &mut [Rig],
    runtime: &Runtime,
) -> Result<()> {
    let mut of: Vec<&mut Rig> = rigs
        .iter_mut()
        .filter(|rig| rig.plane.is_kube_proxy() && rig.services == services)
        .collect();
    if of.is_empty() {
        return Ok(());
    }
    println!("==> kube-proxy writes its rules for {services} Services");
    let testbeds: Vec<(Plane, &Testbed)> = of.iter().map(|rig| (rig.plane, &rig.testbed)).collect();
    let programs = &options.programs;
    let vips = kube_proxy::write_rules(programs, services, &testbeds, &options.keep, runtime)?;
    for rig in &mut of {
        rig.vips = Some(vips);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_measured_once_a_round_and_not_always_first() {
        let mut first = Vec::new();
        for round in 1..=9 {
            let order: Vec<usize> = (0..7).map(|index| turn(index, round, 7)).collect();
            first.push(order[0]);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6], "{order:?}");
        }
        first.sort_unstable();
        first.dedup();
        assert!(first.len() > 3, "{first:?}");
    }

    #[test]
    fn what_is_compared_stands_together() {
        let modes = Mode::all(&Plane::DEFAULT, &[1, 100_000], &[1, 1_000, 10_000]);
        let rows = rows(&modes);
        let groups = rows
            .chunk_by(|one, next| (one.place, one.workload) == (next.place, next.workload))
            .inspect(|group| assert_eq!(group[0].mode.plane, Plane::Direct));
        assert_eq!(groups.count(), Place::ALL.len() * Workload::ALL.len());
    }
}
