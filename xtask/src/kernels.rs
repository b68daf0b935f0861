//! Real kernels: boots Debian's under QEMU, with an initramfs that holds the project's own programs, and runs a part of the
//! tests in each. The test programs are those that the other levels run on the machine's own kernel.
//!
//! Always emulated (`-accel tcg`), so it works inside of any virtual machine. Times in a guest say nothing about speed.

mod boot;
mod cpio;
mod debian;
mod initramfs;
mod programs;
mod release;

use std::{
    env, fs,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

pub use release::Release;

use crate::{
    setup::{self, tools},
    step::step,
    test::Tally,
    workspace,
};
use debian::Image;
use programs::TestPrograms;

/// What became of one kernel.
struct Outcome {
    release: Release,
    /// The kernel's own full version, where it booted.
    version: String,
    tally: Tally,
    failure: Option<String>,
    took: Duration,
}

/// Installs and downloads what the guests need.
///
/// # Errors
/// On another architecture than amd64, or if something can't be had: the message says what to do.
pub fn prepare(releases: &[Release]) -> Result<()> {
    ensure!(
        env::consts::ARCH == "x86_64",
        "the kernels are Debian's for amd64 and run programs of this machine, which is {}: name the other levels instead",
        env::consts::ARCH
    );
    setup::ensure("boot other kernels", &[tools::KERNELS])?;
    let cache = debian::cache()?;
    for &release in releases {
        debian::image(release, &cache)?;
    }
    Ok(())
}

/// Boots the kernels, as many at a time as there are processors, and runs the tests in each.
///
/// # Errors
/// With the kernels in which a test failed, or which did not get through in time.
pub fn run(releases: &[Release], tally: &mut Tally) -> Result<()> {
    let cache = debian::cache()?;
    let programs = programs::build()?;
    let images: Vec<(Release, Image)> = releases
        .iter()
        .map(|&release| Ok((release, debian::image(release, &cache)?)))
        .collect::<Result<_>>()?;
    let at_a_time = thread::available_parallelism().map_or(1, Into::into);
    let waiting = Mutex::new(images.into_iter());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_a_time.min(releases.len()) {
            scope.spawn(|| {
                loop {
                    let next = lock(&waiting).next();
                    let Some((release, image)) = next else { break };
                    let outcome = try_kernel(release, &image, &programs);
                    lock(&outcomes).push(outcome);
                }
            });
        }
    });
    let mut outcomes = lock(&outcomes);
    outcomes.sort_by_key(|outcome| outcome.release);
    println!();
    for outcome in outcomes.iter() {
        println!(
            "{:<6} {:<30} {}, {:>6.1} s",
            outcome.release.name(),
            outcome.version,
            outcome.tally,
            outcome.took.as_secs_f64()
        );
        *tally += outcome.tally.clone();
    }
    let failures: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| {
            let failure = outcome.failure.as_ref()?;
            Some(format!("Linux {}: {failure}", outcome.release.name()))
        })
        .collect();
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

fn try_kernel(release: Release, image: &Image, programs: &TestPrograms) -> Outcome {
    let start = Instant::now();
    let mut tally = Tally::default();
    let failure = boot_and_test(release, image, programs, &mut tally)
        .err()
        .map(|error| format!("{error:#}"));
    Outcome {
        release,
        version: image.version.clone(),
        tally,
        failure,
        took: start.elapsed(),
    }
}

fn boot_and_test(
    release: Release,
    image: &Image,
    programs: &TestPrograms,
    tally: &mut Tally,
) -> Result<()> {
    let folder = workspace::root()
        .join("target/kernels")
        .join(release.name());
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let archive = step(
        &format!("pack an initramfs for Linux {}", image.version),
        || initramfs::pack(release, image, programs, &folder),
    )?;
    boot::boot(release, &image.vmlinuz, &archive, &folder, tally)
}

/// A panic in one thread is the end of the scope, and told there.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
