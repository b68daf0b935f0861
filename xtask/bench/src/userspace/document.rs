//! The results as a table, and as the document that stands in the repository.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::goals::{ROWS, Row};
use super::measured::Measured;
use crate::document;
use crate::machine::Machine;
use crate::numbers::short;

const WHAT: &str = "\
By [criterion](https://docs.rs/criterion), in one process with one thread, built as the agent is released. A figure is the median of the
samples; in brackets are the bounds between which it lies with a confidence of 95 %. It is the time that the thread had a processor, in
the kernel and outside: the work waits for nothing, and what others do on the machine is left out. The maps in the kernel are those of the agent,
with its default sizes but for what the data plane alone fills, and no packet comes meanwhile.

- Each Service has one port and three endpoints, all of IPv4. A change exchanges one endpoint of one of them, each time of another
  one, far from the last.
- *The pass over what differs* is what the control plane's bench takes from the agent's own metrics: comparing what was touched, writing it,
  and counting the pass in the map `config`.
- *After others have had the caches*: before each pass the process walks over 96 MiB. An agent that waits for changes finds the caches
  like this.
- *No write done* is the same work above maps that take every write and do nothing with it.
";

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Results {
    pub command: String,
    pub machine: Machine,
    /// Of the machine at the end: the measurement's own load is in it.
    pub load_average: f64,
    pub measured: Vec<Measured>,
}

/// Writes `FILE.md` and `FILE.json`.
///
/// # Errors
/// When they cannot be written.
pub fn write(results: &Results, file: &Path) -> Result<()> {
    document::write(file, results, &page(results)).map(drop)
}

fn page(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = String::from(
        "# What the agent's own work costs\n\nBetween a source's event and the maps, without API server and packets. Written by the command below; the figures are in [userspace.json](userspace.json) too.\n\n",
    );
    let _ = writeln!(text, "```\n{}\n```\n", results.command);
    let _ = writeln!(
        text,
        "{machine}. Load average of the machine at the end, the measurement's own in it: {}.\n",
        results.load_average,
    );
    text += &table(results);
    text += "\n## How it is measured\n\n";
    text += WHAT;
    text
}

/// The table, one row for each benchmark and size.
pub fn table(results: &Results) -> String {
    let mut text = String::from(
        "| goal | what | Services | figure | gate | goal | meets |\n|---|---|---|---|---|---|---|\n",
    );
    for row in ROWS {
        let mut of_row: Vec<(Option<u32>, &Measured)> = results
            .measured
            .iter()
            .filter_map(|it| Some((size(row, &it.name)?, it)))
            .collect();
        of_row.sort_by_key(|(size, _)| *size);
        for (size, measured) in of_row {
            line(&mut text, row, size, measured);
        }
    }
    text
}

/// How many Services a benchmark of this row is of, if it says so; none where it is another row's.
fn size(row: &Row, name: &str) -> Option<Option<u32>> {
    match name.strip_prefix(row.name)? {
        "" => Some(None),
        rest => Some(Some(rest.strip_prefix('/')?.parse().ok()?)),
    }
}

fn line(text: &mut String, row: &Row, size: Option<u32>, measured: &Measured) {
    let told = |nanoseconds: f64| nanoseconds / row.unit.nanoseconds();
    let value = told(measured.nanoseconds);
    let [low, high] = measured.range.map(told);
    let [gate, goal] = document::limits(row.limits);
    let meets = document::meets(row.limits, value);
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} {} ({}–{}) | {gate} | {goal} | {meets} |",
        row.goal,
        row.what,
        size.map(|size| size.to_string()).unwrap_or_default(),
        short(value),
        row.unit.name(),
        short(low),
        short(high),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_there_for_each_size_in_their_order() {
        let measured = |name: &str, nanoseconds: f64| Measured {
            name: name.into(),
            nanoseconds,
            range: [nanoseconds / 2.0, nanoseconds * 2.0],
        };
        let results = Results {
            command: String::new(),
            machine: Machine::unknown(),
            load_average: 0.5,
            measured: vec![
                measured("change/kernel/pass-cold/1", 60e3),
                measured("change/kernel/pass/1", 4e3),
                measured("change/kernel/pass/10000", 5.5e3),
                measured("change/kernel/pass/1000", 5e3),
                measured("resolve", 1e3),
            ],
        };
        assert_eq!(
            table(&results).lines().skip(2).collect::<Vec<_>>(),
            [
                "|  | one Service is resolved |  | 1.00 µs (0.500–2.00) |  |  |  |",
                "| P13 | … the pass over what differs | 1 | 4.00 µs (2.00–8.00) | ≤ 50 | ≤ 5 | goal |",
                "| P13 | … the pass over what differs | 1000 | 5.00 µs (2.50–10.0) | ≤ 50 | ≤ 5 | goal |",
                "| P13 | … the pass over what differs | 10000 | 5.50 µs (2.75–11.0) | ≤ 50 | ≤ 5 | gate |",
                "| P13 | … the same after others have had the caches | 1 | 60.0 µs (30.0–120) | ≤ 50 | ≤ 5 | **no** |",
            ]
        );
    }
}
