//! How answers spread over pods, as a table. What counts as even is for the chapters to say.

use lab::client::Report;

const BAR: f64 = 60.0;

/// One line a pod that answered or that should have: requests, share, a bar; the errors last.
pub fn table(report: &Report, pods: &[String]) -> String {
    let silent = pods.iter().filter(|pod| !report.pods.contains_key(*pod));
    let mut rows: Vec<(&str, u64)> = silent.map(|pod| (pod.as_str(), 0)).collect();
    rows.extend(
        report
            .pods
            .iter()
            .map(|(pod, &count)| (pod.as_str(), count)),
    );
    rows.sort_unstable();
    let mut text = format!("{:<12} {:>8}  {:>6}\n", "POD", "ANSWERS", "SHARE");
    for (pod, count) in rows {
        let share = share(report, count);
        let bar = "#".repeat((share * BAR).round() as usize);
        text += &format!("{pod:<12} {count:>8}  {:>5.1}%  {bar}\n", share * 100.0);
    }
    text += &format!("{:<12} {:>8}\n", "errors", report.errors);
    for error in &report.error_texts {
        text += &format!("  {error}\n");
    }
    text
}

/// By how many parts of all requests the pod farthest from an even share among `pods` is off it: 0.03 is three points.
pub fn farthest_from_even(report: &Report, pods: usize) -> f64 {
    let even = 1.0 / pods as f64;
    let missing = if report.pods.len() < pods { even } else { 0.0 };
    report
        .pods
        .values()
        .map(|&count| (share(report, count) - even).abs())
        .fold(missing, f64::max)
}

fn share(report: &Report, count: u64) -> f64 {
    count as f64 / report.total.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(counts: &[(&str, u64)], errors: u64) -> Report {
        Report {
            total: counts.iter().map(|(_, count)| count).sum::<u64>() + errors,
            errors,
            pods: counts
                .iter()
                .map(|&(pod, count)| (pod.to_owned(), count))
                .collect(),
            ..Report::default()
        }
    }

    #[test]
    fn a_pod_that_never_answered_has_a_line() {
        let text = table(&report(&[("b", 3)], 1), &["a".into(), "b".into()]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["a", "0", "0.0%"]);
        assert_eq!(lines[2][..3], ["b", "3", "75.0%"]);
        assert_eq!(lines[3], ["errors", "1"]);
    }

    #[test]
    fn evenness_is_measured_in_parts_of_all_requests() {
        let check = |counts: &[(&str, u64)], expected: f64| {
            let off = farthest_from_even(&report(counts, 0), 2);
            assert!((off - expected).abs() < 1e-9, "{off} for {counts:?}");
        };
        check(&[("a", 50), ("b", 50)], 0.0);
        check(&[("a", 53), ("b", 47)], 0.03);
        check(&[("a", 100)], 0.5);
        check(&[], 0.5);
    }
}
