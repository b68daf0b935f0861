//! Loading the embedded object.

use std::time::Duration;

use anyhow::{Context, Result};
use aya::EbpfLoader;
use aya::programs::SchedClassifier;
use lab::Sandbox;
use lb_common::layout::name;
use lb_userspace::datapath::{LOG_LEVEL, PinOutcome, Ticks, object, verify};
use lb_userspace::maps::Limits;

use crate::support::{names, node};

#[test]
fn programs_load_and_every_map_is_pinned() -> Result<()> {
    let node = node("load-first")?;
    let datapath = node.load()?;
    for program in datapath.programs().all() {
        // Linux 5.16 and later tell how far the verifier walked; the budgets are tested with the packets.
        if let Some(instructions) = program.verified_instructions {
            println!("{}: {instructions} verified instructions", program.name);
            assert!(instructions > 0);
        }
    }
    let mut expected: Vec<_> = name::ALL.map(String::from).into();
    expected.push("links".into());
    expected.sort();
    assert_eq!(names(node.paths.layout())?, expected);
    assert!(
        datapath.pins().values().all(|p| *p == PinOutcome::Created),
        "{:?}",
        datapath.pins()
    );
    Ok(())
}

/// A kernel without compare-and-swap has no table of flows. But its verifier is the strictest: what it follows, those of the kernels after
/// it follow as well, of which few are at hand.
#[test]
fn the_verifier_follows_the_search_of_the_table_of_flows() -> Result<()> {
    Sandbox::current()?;
    // As it was compiled, with the table.
    let mut object = EbpfLoader::new()
        .verifier_log_level(LOG_LEVEL)
        .load(object::for_kernel()?)?;
    for name in ["from_workload", "to_workload"] {
        let program = object.program_mut(name).context("no such program")?;
        let program: &mut SchedClassifier = program.try_into()?;
        verify(name, || program.load())?;
    }
    Ok(())
}

#[test]
fn a_second_load_takes_the_pinned_maps_over_with_the_secret() -> Result<()> {
    let node = node("load-second")?;
    let first = config(&node.paths.map(name::CONFIG), node.load()?)?;
    let second = node.load()?;
    assert!(
        second.pins().values().all(|p| *p == PinOutcome::Reused),
        "{:?}",
        second.pins()
    );
    let second = config(&node.paths.map(name::CONFIG), second)?;
    assert_eq!(first, second);
    assert_ne!(first["secret"], 0, "a secret is made once");
    Ok(())
}

#[test]
fn bpftool_shows_the_fields_of_a_pinned_map_by_name() -> Result<()> {
    let node = node("load-btf")?;
    let datapath = node.load()?;
    let ticks = datapath.ticks().per_second();
    let config = config(&node.paths.map(name::CONFIG), datapath)?;
    assert_eq!(config["ticks_per_second"], ticks);
    Ok(())
}

/// The config as bpftool prints it, while the datapath is loaded.
fn config(
    pin: &std::path::Path,
    _loaded: lb_userspace::datapath::Datapath,
) -> Result<serde_json::Value> {
    let output = std::process::Command::new("bpftool")
        .args(["-j", "map", "dump", "pinned"])
        .arg(pin)
        .output()
        .context("bpftool")?;
    let dump: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let value = dump[0]["formatted"]["value"].clone();
    anyhow::ensure!(value.is_object(), "no field names in {dump}");
    Ok(value)
}

#[test]
fn the_estimated_tick_is_within_a_second_of_the_kernels() -> Result<()> {
    let ticks = Ticks::of_kernel()?;
    let timers = std::fs::read_to_string("/proc/timer_list")?;
    let now = ticks.now()?;
    let jiffies: u64 = timers
        .lines()
        .find_map(|line| line.strip_prefix("jiffies: "))
        .context("jiffies in /proc/timer_list")?
        .parse()?;
    let stamp = jiffies as u32;
    let apart = ticks.since(stamp, now).max(ticks.since(now, stamp));
    println!("the estimate is {apart:?} off");
    assert!(apart < Duration::from_secs(1), "{apart:?}");
    Ok(())
}

#[test]
fn a_limit_that_cannot_be_had_is_refused_before_anything_is_pinned() -> Result<()> {
    let node = node("load-limit")?;
    let limits = Limits {
        backends: 0,
        ..crate::support::small_limits()
    };
    let error = node.load_with(limits).unwrap_err();
    assert!(error.to_string().contains("backends"), "{error}");
    assert!(!node.paths.folder().exists());
    Ok(())
}
