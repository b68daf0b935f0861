//! Waiting for a condition that somebody else makes true, up to a deadline. Nobody should sleep instead.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Polls `condition` until it holds. `what` completes "waited 5 s for …" in the error when it never does.
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    wait_for(what, deadline, || condition().then_some(()))
}

/// Polls `look` until it returns something. It is asked at least once, and once more at the deadline.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_micros(200);
    loop {
        let late = Instant::now() >= end;
        if let Some(found) = look() {
            return Ok(found);
        }
        if late {
            bail!("waited {deadline:?} for {what}, in vain");
        }
        thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_is_named_in_the_error() {
        let error = wait_until("the moon", Duration::from_millis(2), || false).unwrap_err();
        assert_eq!(error.to_string(), "waited 2ms for the moon, in vain");
    }

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut asked = 0;
        let answer = wait_for("three", Duration::from_secs(5), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(answer.unwrap(), 3);
    }
}
