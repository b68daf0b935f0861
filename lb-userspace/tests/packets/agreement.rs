//! The loaded programs and the pipeline over maps in memory make the same of the same octets, packet after packet: the same
//! verdict, the same octets, the same rows in every map, and never half a flow.
//!
//! Packets follow from each other, and half of them are changed in ways that no sender would. Everything comes from a seed.
//! `cargo xtask fuzz agreement` runs as many as one likes.

mod history;
mod tables;
mod world;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use std::{env, thread};

use anyhow::{Context, Result, anyhow, bail};
use lb_common::testing::Random;

use history::{Disagreement, History, Step};
use world::{Learnt, World};

/// Packets of a run, unless [`PACKETS_VARIABLE`] says otherwise.
const PACKETS: u64 = 25_000;
/// Packets after which endpoints change.
const UNTIL_CHANGE: u64 = 500;
/// Packets after which all that was learnt is compared, and time passes.
const UNTIL_COMPARED: u64 = 5_000;
/// Packets of a seed at most. More are run in parts, each with a world and a seed of its own, the next number.
const PART: u64 = 100_000;

/// How many packets the run with a seed of its own has.
const PACKETS_VARIABLE: &str = "LB_FUZZ_PACKETS";
/// The seed of that run.
const SEED_VARIABLE: &str = "LB_FUZZ_SEED";

/// What a run of so many packets can't but meet.
const MET: [&str; 17] = [
    "unknown-protocol",
    "malformed",
    "fragment",
    "fragment-without-first",
    "fragment-held",
    "icmp-error",
    "new-flow",
    "forward",
    "reply",
    "reselected",
    "no-endpoint",
    "no-local-endpoint",
    "backend-missing",
    "unknown-port",
    "source-port",
    "unallocated",
    "not counted",
];

/// Packets by what they were counted under.
type Seen = BTreeMap<&'static str, u64>;

/// Runs packets of a seed, with the table of flows where that is even, and fails with the shortest history over which the sides disagree.
fn agree(seed: u64, packets: u64) -> Result<Seen> {
    let mut random = Random::new(seed);
    let mut world = World::new(seed.is_multiple_of(2))?;
    let mut history = History::new(world.config(), Learnt::nothing());
    let mut seen = Seen::new();
    for number in 1..=packets {
        let packet = world.packet(&mut random);
        history.push(Step::Packet(packet.clone()));
        let [ran, expected] = world.run(&packet)?;
        if ran != expected {
            let found = Disagreement::Packet(Box::new([ran, expected]));
            return Err(report(seed, number, found, history, &mut world));
        }
        for name in ran.counted.keys() {
            *seen.entry(name).or_default() += 1;
        }
        if ran.counted.is_empty() {
            *seen.entry("not counted").or_default() += 1;
        }
        if number % UNTIL_COMPARED == 0 || number == packets {
            let learnt = match world.learnt()? {
                Ok(learnt) => learnt.let_pass(&mut random),
                Err(text) => {
                    let found = Disagreement::Learnt(text);
                    return Err(report(seed, number, found, history, &mut world));
                }
            };
            world.teach(&learnt)?;
            history = History::new(world.config(), learnt);
        }
        if number % UNTIL_CHANGE == 0 {
            world.change(&mut random)?;
            history.push(Step::Config(Box::new(world.config())));
        }
    }
    Ok(seen)
}

/// The disagreement, and the least that leads to one.
fn report(
    seed: u64,
    number: u64,
    found: Disagreement,
    history: History,
    world: &mut World,
) -> anyhow::Error {
    let first = format!("seed {seed}, packet {number}: the two disagree.\n{found}");
    match history.shortened(world) {
        Ok((history, Some(found))) => {
            anyhow!("{first}It takes these packets:\n{history}And comes to:\n{found}")
        }
        Ok((_, None)) => anyhow!("{first}They agree when the packets are run again."),
        Err(error) => error.context(first),
    }
}

/// Runs packets in parts, as many at a time as the machine has processors, and says what they met.
fn agree_in_parts(seed: u64, packets: u64) -> Result<()> {
    let start = Instant::now();
    let parts = packets.div_ceil(PART);
    let next = AtomicU64::new(0);
    let outcome = Mutex::new(Ok(Seen::new()));
    let work = || {
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            let failed = outcome.lock().expect("no thread panics").is_err();
            if part >= parts || failed {
                return;
            }
            let seen = agree(seed.wrapping_add(part), PART.min(packets - part * PART));
            let mut all = outcome.lock().expect("no thread panics");
            match (&mut *all, seen) {
                (Ok(all), Ok(seen)) => {
                    for (name, n) in seen {
                        *all.entry(name).or_default() += n;
                    }
                }
                (Ok(_), Err(error)) => *all = Err(error),
                (Err(_), _) => {}
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers.min(parts as usize) {
            scope.spawn(work);
        }
    });
    let seen = outcome.into_inner().expect("no thread panics")?;
    println!(
        "{packets} packets of seed {seed} in {:.1} s, both sides agree: {seen:?}",
        start.elapsed().as_secs_f64()
    );
    for name in MET {
        if packets >= PACKETS && !seen.contains_key(name) {
            bail!("seed {seed}: no packet was counted under {name}: {seen:?}");
        }
    }
    Ok(())
}

/// The number in an environment variable, if it is set.
fn number(variable: &str) -> Result<Option<u64>> {
    match env::var(variable) {
        Ok(text) => {
            let number = text
                .parse()
                .with_context(|| format!("{variable}={text}: a number is wanted"))?;
            Ok(Some(number))
        }
        Err(_) => Ok(None),
    }
}

#[test]
fn the_loaded_programs_do_what_the_pipeline_in_memory_does() -> Result<()> {
    agree_in_parts(20_260_728, PACKETS)
}

#[test]
fn they_do_so_without_the_table_of_flows() -> Result<()> {
    agree_in_parts(20_260_729, PACKETS)
}

#[test]
fn they_agree_on_packets_that_nobody_has_seen() -> Result<()> {
    let seed = match number(SEED_VARIABLE)? {
        Some(seed) => seed,
        // Short enough to be typed again.
        None => RandomState::new().hash_one(0) % 1_000_000_000,
    };
    println!("{SEED_VARIABLE}={seed} runs the same packets again");
    agree_in_parts(seed, number(PACKETS_VARIABLE)?.unwrap_or(PACKETS))
}
