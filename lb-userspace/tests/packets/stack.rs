//! How much of its stack the longest chain of calls in each program takes. The kernel grants 512 octets, and kernels before
//! 6.8 round each function's frame up to 32.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::Sandbox;
use lb_userspace::datapath::object;

/// Octets that the longest chain may take. What is left is room for what a function is given to do one day.
const BUDGET: u32 = 448;

/// What the verifier says of one program.
#[derive(Default)]
struct Program {
    /// The instruction that each function starts with, in order.
    starts: Vec<u32>,
    /// Octets that each function takes.
    frames: Vec<u32>,
    /// Who calls whom, by number.
    calls: BTreeSet<(usize, usize)>,
}

impl Program {
    /// Octets of the longest chain of calls that begins with a function, and the numbers in the chain.
    fn deepest(&self, from: usize) -> (u32, Vec<usize>) {
        let called = self.calls.iter().filter(|(caller, _)| *caller == from);
        let (depth, mut chain) = called
            .map(|(_, callee)| self.deepest(*callee))
            .max()
            .unwrap_or_default();
        chain.insert(0, from);
        (depth + self.frames[from].max(1).next_multiple_of(32), chain)
    }

    fn function_at(&self, instruction: u32) -> Option<usize> {
        let after = self.starts.partition_point(|start| *start <= instruction);
        after.checked_sub(1)
    }
}

/// What the verifier prints while `bpftool` loads the object.
fn verifier_log() -> Result<String> {
    let sandbox = Sandbox::current()?;
    let (pins, file) = (
        sandbox.bpffs().join("stack"),
        sandbox.directory().join("stack.o"),
    );
    fs::write(&file, object::embedded()?)?;
    let output = Command::new("bpftool")
        .args(["--debug", "prog", "loadall"])
        .args([&file, &pins])
        .output()
        .context("bpftool, which `cargo xtask setup` installs")?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "bpftool prog loadall: {}",
        &log[log.len().saturating_sub(2_000)..]
    );
    fs::remove_dir_all(&pins)?;
    Ok(log)
}

/// The programs of a verifier's log, by name.
fn programs(log: &str) -> Result<BTreeMap<&str, Program>> {
    let mut programs = BTreeMap::new();
    for part in log.split("libbpf: prog '").skip(1) {
        let (name, rest) = part.split_once('\'').context("a program without a name")?;
        if rest.starts_with(": -- BEGIN PROG LOAD LOG") {
            programs.insert(name, program(rest).with_context(|| name.to_owned())?);
        }
    }
    Ok(programs)
}

fn program(log: &str) -> Result<Program> {
    let mut program = Program::default();
    let mut calls = Vec::new();
    for line in log.lines() {
        if let Some(start) = line.strip_prefix("func#") {
            let (_, start) = start
                .split_once('@')
                .context("a function without a place")?;
            program.starts.push(start.trim().parse()?);
        } else if let Some(frames) = line.strip_prefix("stack depth ") {
            for frame in frames.split('+') {
                program.frames.push(frame.trim().parse()?);
            }
        } else if let Some((at, target)) = line.split_once("(85) call pc") {
            // The instruction's number, a colon, maybe which registers are in use.
            let at = at.rsplit_once(':').map_or(at, |(at, _)| at);
            let at = at.split_whitespace().next_back().unwrap_or_default();
            let distance = target.split_whitespace().next().unwrap_or_default();
            calls.push((at.parse::<u32>()?, distance.parse::<i32>()?));
        }
    }
    let target = |at: u32, distance: i32| at.checked_add_signed(distance + 1).unwrap_or_default();
    // A function that nothing calls, for a read-only global says so, has no frame. A program of one function is not listed.
    let targets: BTreeSet<u32> = calls.iter().map(|call| target(call.0, call.1)).collect();
    program.starts.retain(|start| targets.contains(start));
    program.starts.push(0);
    program.starts.sort_unstable();
    for (at, distance) in calls {
        let caller = program.function_at(at).context("a call from nowhere")?;
        let callee = program
            .function_at(target(at, distance))
            .context("a call to nowhere")?;
        program.calls.insert((caller, callee));
    }
    ensure!(
        program.frames.len() == program.starts.len(),
        "{} functions, {} frames",
        program.starts.len(),
        program.frames.len()
    );
    Ok(program)
}

#[test]
fn the_longest_chain_of_calls_leaves_room_on_the_stack() -> Result<()> {
    let log = verifier_log()?;
    let programs = programs(&log)?;
    for name in [
        "from_workload",
        "to_workload",
        "deliver_v4",
        "deliver_v6",
        "from_uplink",
    ] {
        assert!(programs.contains_key(name), "{:?}", programs.keys());
    }
    for (name, program) in &programs {
        let (depth, chain) = program.deepest(0);
        let frames: Vec<u32> = chain.iter().map(|n| program.frames[*n]).collect();
        println!("{name}: {depth} of {BUDGET} octets of stack, frames {frames:?}");
        assert!(depth <= BUDGET, "{name}: {depth} octets, frames {frames:?}");
    }
    let calls = programs["from_workload"].calls.len();
    assert!(calls > 5, "only {calls} calls were recognised");
    Ok(())
}
