//! A clock that jumps: the agent is told another time of day than it is, by a library that is loaded before the C library,
//! and told another one again while it runs. Nothing may follow from the time of day but what is displayed. The kernel's
//! monotonic clock does not jump, and the data plane knows no other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use cluster::ControlPlane;
use lab::Sandbox;

use crate::site::Site;

/// `clock_gettime` with the time of day moved by the seconds that a file holds. Made by the compiler that the tests need
/// anyway.
const LIBRARY: &str = r#"
#![no_std]
#[repr(C)] pub struct Time { seconds: i64, nanoseconds: i64 }
unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
    fn getenv(name: *const u8) -> *const u8;
    fn open(path: *const u8, flags: i32, ...) -> i32;
    fn read(file: i32, octets: *mut u8, count: usize) -> isize;
    fn close(file: i32) -> i32;
}
#[panic_handler] fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
#[unsafe(no_mangle)] pub unsafe extern "C" fn clock_gettime(clock: i32, time: *mut Time) -> i32 {
    let result = unsafe { syscall(NUMBER, clock as i64, time) } as i32;
    if clock == 0 && result == 0 {
        let mut octets = [0u8; 8];
        let file = unsafe { open(getenv(c"JUMP".as_ptr().cast()), 0) };
        if file >= 0 {
            unsafe { read(file, octets.as_mut_ptr(), 8); close(file); (*time).seconds += i64::from_ne_bytes(octets); }
        }
    }
    result
}
"#;

const DAY: i64 = 24 * 3600;

#[test]
fn a_time_of_day_that_jumps_forth_and_back_changes_nothing() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let directory = Sandbox::current()?.directory().join("clock");
        fs::create_dir(&directory)?;
        let jump = directory.join("jump");
        set(&jump, 0)?;
        site.agent.kill()?;
        let library = library(&directory)?;
        site.agent.environment = vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("JUMP", jump.display().to_string()),
        ];
        site.agent.start()?;

        let pods = [site.backend("one")?, site.backend("two")?];
        let still = site.publish("still", &[&pods[0]])?;
        let moving = site.publish("moving", &[&pods[0]])?;
        site.wait_until_watching()?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&still, &moving])?);
        for (seconds, pod) in [(400 * DAY, &pods[1]), (-3600, &pods[0])] {
            set(&jump, seconds)?;
            site.move_to(&moving, pod)?;
            // In the midst of an outage, too, when pauses are waited for.
            site.weather.refuse();
            loads.wait_for_more(100)?;
            set(&jump, -seconds)?;
            site.assert_live();
            site.weather.admit()?;
            let better = Instant::now();
            site.objects.lead(&moving, &[&pods[0]])?;
            site.recovered(&moving, &pods[0], better)?;
            site.wait_until_watching()?;
        }
        // The first jump did reach it.
        let future = jiff::Timestamp::now().as_second() + 399 * DAY;
        let log = site.agent.log();
        let times = log.lines().filter_map(|line| line.split(' ').next());
        let mut seconds =
            times.filter_map(|time| Some(time.parse::<jiff::Timestamp>().ok()?.as_second()));
        ensure!(
            seconds.any(|second| second > future),
            "no line of the log is of the future"
        );
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["moving"], &[]);
        site.keep(pods);
        Ok(())
    })
}

fn set(file: &Path, seconds: i64) -> Result<()> {
    Ok(fs::write(file, seconds.to_ne_bytes())?)
}

fn library(directory: &Path) -> Result<PathBuf> {
    let source = directory.join("clock.rs");
    let library = directory.join("libclock.so");
    fs::write(
        &source,
        LIBRARY.replace("NUMBER", &libc::SYS_clock_gettime.to_string()),
    )?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args([
            "--edition=2024",
            "--crate-type=cdylib",
            "-Cpanic=abort",
            "-O",
            "-o",
        ])
        .args([&library, &source])
        .output()
        .context("rustc")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "rustc: {said}");
    Ok(library)
}
