//! What a load counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{ClientError, Response};

const ERRORS_KEPT: usize = 5;

/// The outcome of a load so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests that have ended, well or not.
    pub total: u64,
    /// Requests that failed.
    pub errors: u64,
    /// The first few failures, in words.
    pub error_texts: Vec<String>,
    /// Answers by the pod that gave them.
    pub pods: BTreeMap<String, u64>,
    /// The slowest answer.
    pub max_latency: Duration,
    /// The sum over all answers; see [`Report::mean_latency`].
    pub sum_latency: Duration,
}

impl Report {
    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.total - self.errors
    }

    /// The mean over all answers; zero without any.
    pub fn mean_latency(&self) -> Duration {
        self.sum_latency / u32::try_from(self.answered().max(1)).unwrap_or(u32::MAX)
    }

    /// How many answers `pod` gave.
    pub fn of(&self, pod: &str) -> u64 {
        self.pods.get(pod).copied().unwrap_or_default()
    }

    /// By how much the pod farthest from an even share among `pods` pods is off it, as a part of that share: 0.03 is
    /// three percent. A pod that never answered is off by 1.
    pub fn worst_imbalance(&self, pods: usize) -> f64 {
        let share = self.answered() as f64 / pods as f64;
        let missing = if self.pods.len() < pods { 1.0 } else { 0.0 };
        self.pods
            .values()
            .map(|&count| (count as f64 - share).abs() / share)
            .fold(missing, f64::max)
    }

    pub(super) fn note(&mut self, outcome: Result<Response, ClientError>) {
        self.total += 1;
        match outcome {
            Ok(response) => {
                self.max_latency = self.max_latency.max(response.elapsed);
                self.sum_latency += response.elapsed;
                *self.pods.entry(response.pod).or_default() += 1;
            }
            Err(error) => {
                self.errors += 1;
                if self.error_texts.len() < ERRORS_KEPT {
                    self.error_texts.push(error.to_string());
                }
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            total,
            errors,
            max_latency,
            ..
        } = self;
        write!(
            f,
            "{total} requests, {errors} errors, mean {:.1?}, slowest {max_latency:.1?}",
            self.mean_latency()
        )?;
        for (pod, count) in &self.pods {
            write!(f, "; {pod} {count}")?;
        }
        for text in &self.error_texts {
            write!(f, "\n  {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imbalance_is_relative_to_the_even_share() {
        let report = |counts: &[(&str, u64)]| Report {
            total: counts.iter().map(|(_, count)| count).sum(),
            pods: counts
                .iter()
                .map(|&(pod, count)| (pod.to_owned(), count))
                .collect(),
            ..Report::default()
        };
        assert!((report(&[("a", 110), ("b", 90)]).worst_imbalance(2) - 0.1).abs() < 1e-9);
        assert!(
            report(&[("a", 100)]).worst_imbalance(2) >= 1.0,
            "a silent pod"
        );
    }
}
