//! How long the machine's processors were not idle: what a packet costs wherever it is handled, interrupts included.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// A reading of /proc/stat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Busy {
    ticks: u64,
}

/// In which /proc/stat counts, whatever the kernel's own are (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
/// Of the columns of proc(5): user, nice, system, irq, softirq. Idle, iowait, steal and the guests' are left out.
const BUSY: [usize; 5] = [0, 1, 2, 5, 6];

impl Busy {
    /// All processors, until now.
    ///
    /// # Errors
    /// When /proc is not readable.
    pub fn now() -> Result<Busy> {
        let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        Self::parse(&text).context("/proc/stat does not begin with the processors' sum")
    }

    /// How long since an earlier reading, all processors together.
    pub fn since(self, earlier: Busy) -> Duration {
        TICK * self.ticks.saturating_sub(earlier.ticks) as u32
    }

    fn parse(text: &str) -> Option<Busy> {
        let columns = text.lines().next()?.strip_prefix("cpu ")?;
        let columns: Vec<u64> = columns
            .split_whitespace()
            .filter_map(|column| column.parse().ok())
            .collect();
        let ticks = BUSY.iter().map(|&column| columns.get(column).copied());
        Some(Busy {
            ticks: ticks.sum::<Option<u64>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_idle_nor_stolen_time_is_busy() {
        let text = "cpu  100 10 50 9000 70 3 2 400 0 0\ncpu0 1 2 3 4 5 6 7\n";
        let earlier = Busy::parse(text).unwrap();
        assert_eq!(earlier, Busy { ticks: 165 });
        let later = Busy { ticks: 170 };
        assert_eq!(later.since(earlier), Duration::from_millis(50));
        assert_eq!(Busy::parse("cpu 1 2\n"), None);
    }
}
