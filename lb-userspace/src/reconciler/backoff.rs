//! How long to wait before the next try, after so many that failed.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// Counts failures in a row.
#[derive(Default, Debug)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes a failure and says how long to wait: 100 ms, doubled each time, at most 30 s.
    pub fn failed(&mut self) -> Duration {
        let wait = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures += 1;
        wait
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Whether the last try failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..10).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(
            waits,
            [
                100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000
            ]
        );
        backoff.succeeded();
        assert_eq!(backoff.failed(), FIRST);
    }
}
