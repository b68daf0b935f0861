//! Samples, and the few numbers that stand for them.

/// The value below which this share of the samples lies, `0.0..=1.0`: always one of the samples. `None` without samples.
pub fn percentile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The middle sample; of an even number, the lower of the two. `None` without samples.
pub fn median(samples: &[f64]) -> Option<f64> {
    percentile(samples, 0.5)
}

/// Smallest and largest. `None` without samples.
pub fn range(samples: &[f64]) -> Option<(f64, f64)> {
    Some((percentile(samples, 0.0)?, percentile(samples, 1.0)?))
}

/// With three significant digits, as a person reads it.
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    let digits = if magnitude >= 100.0 || magnitude == 0.0 {
        0
    } else if magnitude >= 10.0 {
        1
    } else if magnitude >= 1.0 {
        2
    } else {
        3
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (share, expected) in [
            (0.0, 1.0),
            (0.01, 1.0),
            (0.5, 50.0),
            (0.99, 99.0),
            (1.0, 100.0),
        ] {
            assert_eq!(percentile(&samples, share), Some(expected), "{share}");
        }
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(median(&[]), None);
        assert_eq!(range(&[2.0, 1.0, 3.0]), Some((1.0, 3.0)));
    }

    #[test]
    fn numbers_are_written_with_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (1234.5, "1234"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
