//! What a figure stands beside: the machine, its kernel, its load, the day.

use std::process::Command;
use std::{fmt, fs};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Where a run took place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many of them.
    pub cpus: usize,
    /// `uname -r`.
    pub kernel: String,
    /// The day, in UTC.
    pub date: String,
    /// The commit that was measured, with a mark if the tree had changes.
    pub commit: String,
}

impl Machine {
    /// This one, today.
    ///
    /// # Errors
    /// When /proc is not readable.
    pub fn here() -> Result<Machine> {
        let cpus = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
        let names: Vec<&str> = cpus
            .lines()
            .filter(|line| line.starts_with("model name"))
            .filter_map(|line| line.split(": ").nth(1))
            .collect();
        Ok(Machine {
            cpu: names.first().copied().unwrap_or("unknown").to_owned(),
            cpus: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            date: jiff::Timestamp::now().to_string()[..10].to_owned(),
            commit: commit(),
        })
    }
}

/// As the documents say it.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, commit {}, Linux {}, {} × {}",
            self.date, self.commit, self.kernel, self.cpus, self.cpu
        )
    }
}

#[cfg(test)]
impl Machine {
    /// None.
    pub fn unknown() -> Machine {
        Machine {
            cpu: String::new(),
            cpus: 1,
            kernel: String::new(),
            date: String::new(),
            commit: String::new(),
        }
    }
}

/// How many tasks wanted to run, on average over the last minute.
///
/// # Errors
/// When /proc is not readable.
pub fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
    let first = text.split(' ').next().context("/proc/loadavg is empty")?;
    Ok(first.parse()?)
}

fn commit() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
