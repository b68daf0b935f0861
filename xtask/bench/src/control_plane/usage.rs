//! What a process and its children have used so far: processor, memory, wake-ups.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// At one moment.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    at: Instant,
    /// Of the process and of all children that have ended.
    cpu: Duration,
    /// How often one of its threads had waited and was woken.
    wakeups: u64,
    /// In octets, as the kernel counts what is mapped and present.
    pub resident: u64,
    /// The highest so far.
    pub resident_peak: u64,
    /// The part that is the process's own memory, without files and maps.
    pub anonymous: u64,
}

/// Whether there is such a process and it has not ended.
pub fn is_running(process: u32) -> bool {
    let state = |stat: &str| {
        stat.rsplit_once(") ")
            .map(|(_, rest)| rest.starts_with('Z'))
    };
    read(process, "stat").is_ok_and(|stat| state(&stat) == Some(false))
}

impl Usage {
    /// Of a process, now.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(process: u32) -> Result<Usage> {
        let status = read(process, "status")?;
        Ok(Usage {
            at: Instant::now(),
            cpu: own_cpu(process)? + childrens_cpu(process)?,
            wakeups: wakeups(process)?,
            resident: kibibytes(&status, "VmRSS:")?,
            resident_peak: kibibytes(&status, "VmHWM:")?,
            anonymous: kibibytes(&status, "RssAnon:")?,
        })
    }

    /// Seconds of one processor since it began.
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu.as_secs_f64()
    }

    /// Share of one processor since an earlier moment, in percent.
    pub fn percent_since(&self, earlier: &Usage) -> f64 {
        let used = self.cpu.saturating_sub(earlier.cpu).as_secs_f64();
        100.0 * used / (self.at - earlier.at).as_secs_f64()
    }

    /// Wake-ups a second since an earlier moment.
    pub fn wakeups_since(&self, earlier: &Usage) -> f64 {
        let count = self.wakeups.saturating_sub(earlier.wakeups);
        count as f64 / (self.at - earlier.at).as_secs_f64()
    }
}

/// To the nanosecond, where /proc has ticks.
fn own_cpu(process: u32) -> Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both calls write to the variables whose addresses they are given, and to nothing else.
    let found = unsafe {
        libc::clock_getcpuclockid(process as libc::pid_t, &mut clock) == 0
            && libc::clock_gettime(clock, &mut time) == 0
    };
    anyhow::ensure!(found, "the process {process} has no clock: it has ended");
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

fn childrens_cpu(process: u32) -> Result<Duration> {
    let stat = read(process, "stat")?;
    // Behind the name, which may hold anything; cutime and cstime are fields 16 and 17 of all, proc_pid_stat(5).
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| -> Result<u64> {
        Ok(fields
            .get(index)
            .context("/proc/PID/stat is cut short")?
            .parse()?)
    };
    // SAFETY: it takes a number and returns one.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(Duration::from_secs_f64(
        (ticks(13)? + ticks(14)?) as f64 / per_second as f64,
    ))
}

fn wakeups(process: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        sum += number(&status, "voluntary_ctxt_switches:")?;
    }
    Ok(sum)
}

fn kibibytes(status: &str, field: &str) -> Result<u64> {
    Ok(number(status, field)? * 1024)
}

fn number(status: &str, field: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let value = line.and_then(|line| line.split_whitespace().next());
    Ok(value
        .with_context(|| format!("/proc/PID/status has no {field}"))?
        .parse()?)
}

fn read(process: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).context(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_uses_a_processor_and_memory() {
        let before = Usage::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while before.at.elapsed() < Duration::from_millis(30) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let after = Usage::of(std::process::id()).unwrap();
        assert!(after.percent_since(&before) > 0.0, "{before:?} {after:?}");
        assert!(after.resident > 0 && after.resident_peak > 0 && after.anonymous > 0);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(Usage::of(u32::MAX / 2).is_err());
        assert!(!is_running(u32::MAX / 2));
        assert!(is_running(std::process::id()));
    }
}
