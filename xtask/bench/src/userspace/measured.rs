//! Criterion's figures: for each benchmark a folder with its name and its estimates, both in JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Its full name, as in `change/kernel/pass/10000`.
    pub name: String,
    /// Of the samples' median, in nanoseconds.
    pub nanoseconds: f64,
    /// Between these the median lies with a confidence of 95 %, in nanoseconds.
    pub range: [f64; 2],
}

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// All benchmarks whose last run was kept below a folder, by name.
///
/// # Errors
/// If a file can't be read or is not what criterion writes.
pub fn read(folder: &Path) -> Result<Vec<Measured>> {
    let mut found = Vec::new();
    collect(folder, &mut found)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn collect(folder: &Path, into: &mut Vec<Measured>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if path.ends_with("new") {
            into.push(one(&path)?);
        } else {
            collect(&path, into)?;
        }
    }
    Ok(())
}

fn one(folder: &Path) -> Result<Measured> {
    let Benchmark { full_id } = json(&folder.join("benchmark.json"))?;
    let Estimates { median } = json(&folder.join("estimates.json"))?;
    let interval = median.confidence_interval;
    Ok(Measured {
        name: full_id,
        nanoseconds: median.point_estimate,
        range: [interval.lower_bound, interval.upper_bound],
    })
}

fn json<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_of_each_benchmark_is_read() {
        let folder = std::env::temp_dir().join(format!("criterion-{}", std::process::id()));
        for (run, median) in [("new", 7.5), ("base", 9.0)] {
            let run = folder.join("change/kernel_pass/10").join(run);
            fs::create_dir_all(&run).unwrap();
            fs::write(
                run.join("benchmark.json"),
                r#"{"group_id":"change","full_id":"change/kernel/pass/10"}"#,
            )
            .unwrap();
            let estimate = format!(
                r#"{{"median":{{"confidence_interval":{{"confidence_level":0.95,"lower_bound":7.0,"upper_bound":9.0}},"point_estimate":{median},"standard_error":1}}}}"#
            );
            fs::write(run.join("estimates.json"), estimate).unwrap();
        }
        let found = read(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            found,
            [Measured {
                name: "change/kernel/pass/10".into(),
                nanoseconds: 7.5,
                range: [7.0, 9.0],
            }]
        );
    }
}
