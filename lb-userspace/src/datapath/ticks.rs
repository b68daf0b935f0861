//! The data plane's clock seen from user space: jiffies, of which stamps hold the low 32 bits.
//!
//! The estimate is good to about a second, for idle times that people read; it is no clock to expire anything by.

use std::{io, time::Duration};

use nix::{
    libc,
    time::{ClockId, clock_getres, clock_gettime},
};

/// Ticks of the running kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticks {
    per_second: u32,
}

impl Ticks {
    /// Asks the kernel for its tick: the resolution of its coarse clocks (clock_getres(2)). The constant HZ of a program's
    /// headers is another thing.
    ///
    /// # Errors
    /// If the clock can't be read, or its resolution is no tick between 10 ms and 100 µs long.
    pub fn of_kernel() -> io::Result<Self> {
        let coarse = ClockId::from_raw(libc::CLOCK_MONOTONIC_COARSE);
        let tick = Duration::from(clock_getres(coarse)?);
        from_tick(tick).ok_or_else(|| {
            io::Error::other(format!(
                "CLOCK_MONOTONIC_COARSE has a resolution of {tick:?}, which is no kernel's tick"
            ))
        })
    }

    /// Ticks in a second.
    pub fn per_second(self) -> u32 {
        self.per_second
    }

    /// Low 32 bits of the jiffies now.
    ///
    /// # Errors
    /// If the clock can't be read.
    pub fn now(self) -> io::Result<u32> {
        let uptime = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        Ok(jiffies(uptime, self.per_second))
    }

    /// Time between a stamp and now, zero for one that seems to lie ahead.
    pub fn since(self, stamp: u32, now: u32) -> Duration {
        let ticks = u32::try_from(now.wrapping_sub(stamp) as i32).unwrap_or(0);
        Duration::from_secs_f64(f64::from(ticks) / f64::from(self.per_second))
    }
}

fn from_tick(tick: Duration) -> Option<Ticks> {
    let nanoseconds = u64::try_from(tick.as_nanos()).ok().filter(|n| *n > 0)?;
    // TICK_NSEC is rounded in include/linux/jiffies.h: 300 per second are 3 333 333 ns each.
    let per_second = (1_000_000_000 + nanoseconds / 2) / nanoseconds;
    (100..=10_000).contains(&per_second).then_some(Ticks {
        per_second: per_second as u32,
    })
}

/// The count starts five minutes before it overflows (INITIAL_JIFFIES in `include/linux/jiffies.h`) and follows
/// CLOCK_MONOTONIC from a fraction of a second after that clock's start.
fn jiffies(uptime: Duration, per_second: u32) -> u32 {
    let initial = 0u32.wrapping_sub(300 * per_second);
    let ticks = uptime.as_nanos() * u128::from(per_second) / 1_000_000_000;
    initial.wrapping_add(ticks as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_tick_is_recognised() {
        for (nanoseconds, expected) in [
            (10_000_000, 100),
            (4_000_000, 250),
            (3_333_333, 300),
            (1_000_000, 1000),
            (976_563, 1024),
        ] {
            let ticks = from_tick(Duration::from_nanos(nanoseconds));
            assert_eq!(ticks.map(Ticks::per_second), Some(expected));
        }
        assert_eq!(
            from_tick(Duration::from_nanos(1)),
            None,
            "a high-resolution clock has no tick"
        );
        assert_eq!(from_tick(Duration::ZERO), None);
    }

    #[test]
    fn the_count_overflows_after_five_minutes() {
        assert_eq!(jiffies(Duration::ZERO, 250), 4_294_892_296);
        assert_eq!(jiffies(Duration::from_secs(300), 250), 0);
        assert_eq!(jiffies(Duration::from_secs(301), 1000), 1000);
    }

    #[test]
    fn idle_times_count_across_the_overflow_and_are_never_negative() {
        let ticks = Ticks { per_second: 250 };
        assert_eq!(ticks.since(u32::MAX - 249, 250), Duration::from_secs(2));
        assert_eq!(ticks.since(100, 50), Duration::ZERO);
    }

    #[test]
    fn the_running_kernel_has_a_tick() {
        let ticks = Ticks::of_kernel().unwrap();
        assert!((100..=10_000).contains(&ticks.per_second()));
    }
}
