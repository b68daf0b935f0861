//! How long to wait before the API is asked again, after so many failures: half a second, doubled each time, at most half a
//! minute, and of that a random part, so that the nodes of a cluster do not ask in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// Counts failures in a row.
#[derive(Default, Debug)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes a failure and says how long to wait; at least as long as the API asks for, unless that is longer than half a
    /// minute.
    pub(super) fn failed(&mut self, asked_for: Duration) -> Duration {
        let most = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures += 1;
        let random = RandomState::new().hash_one(()) % 1_000;
        let wait = most / 2 + most.mul_f64(random as f64 / 2_000.0);
        wait.max(asked_for.min(LONGEST))
    }

    /// Notes a success.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_with_a_random_half_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        for most in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let wait = backoff.failed(Duration::ZERO).as_millis();
            assert!((most / 2..=most).contains(&wait), "{wait} of {most}");
        }
        backoff.succeeded();
        assert!(backoff.failed(Duration::ZERO) <= FIRST);
    }

    #[test]
    fn the_apis_own_wish_is_heeded_up_to_half_a_minute() {
        let wish = |seconds| Backoff::default().failed(Duration::from_secs(seconds));
        assert_eq!(wish(7), Duration::from_secs(7));
        assert_eq!(wish(3_600), LONGEST);
    }

    #[test]
    fn two_nodes_do_not_wait_equally_long() {
        let waits: std::collections::BTreeSet<Duration> = (0..20)
            .map(|_| Backoff::default().failed(Duration::ZERO))
            .collect();
        assert!(waits.len() > 5, "{waits:?}");
    }
}
