//! Waiting until a control plane that has just started has read everything and rests: until then it takes the processor that
//! the data plane needs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::Netns;

use super::usage::Usage;

/// Over which time it is looked at.
const WINDOW: Duration = Duration::from_secs(2);
/// At rest it takes so many percent of one processor at most: etcd, the API server and the controllers never rest wholly.
const REST: f64 = 25.0;
/// A busy machine may never let it rest.
const PATIENCE: Duration = Duration::from_secs(90);

/// Returns when the processes in a namespace rest, or after a while.
///
/// # Errors
/// When /proc cannot be read.
pub fn wait_until_quiet(netns: &Netns) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let processes = inside(netns)?;
    while Instant::now() < end {
        let usages = || processes.iter().filter_map(|it| Usage::of(*it).ok());
        let before: Vec<Usage> = usages().collect();
        thread::sleep(WINDOW);
        let spent: f64 = usages()
            .zip(&before)
            .map(|(now, before)| now.percent_since(before))
            .sum();
        if spent < REST {
            return Ok(());
        }
    }
    println!("    the control plane does not rest; what is measured now is measured beside it");
    Ok(())
}

/// The processes inside a network namespace.
fn inside(netns: &Netns) -> Result<Vec<u32>> {
    let inode = netns.inode()?;
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(process) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        // One that has ended meanwhile is in no namespace.
        if fs::metadata(entry.path().join("ns/net")).is_ok_and(|it| it.ino() == inode) {
            processes.push(process);
        }
    }
    Ok(processes)
}
