//! What the stages between a source and the maps cost, by themselves: one Service resolved, one endpoint changed, a whole cluster
//! taken in. No API server and no packet is in it; those are in `cargo xtask bench control-plane`.
//!
//! `cargo xtask bench userspace` runs it and writes docs/benchmarks/userspace.md. It needs root: it fills maps in the kernel.

mod agent;
mod change;
mod clock;
mod cluster;
mod nowhere;
mod resolve;
mod sync;

use std::process::ExitCode;

use criterion::Criterion;
use lab::Sandbox;

/// How many Services there are, with three endpoints each.
const SERVICES: [u32; 3] = [1, 1_000, 10_000];

fn main() -> ExitCode {
    let sandbox = match Sandbox::enter() {
        Ok(sandbox) => sandbox,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut criterion = Criterion::default().configure_from_args();
    resolve::measure(&mut criterion);
    change::measure(&mut criterion, sandbox.bpffs());
    sync::measure(&mut criterion, sandbox.bpffs());
    criterion.final_summary();
    ExitCode::SUCCESS
}
