//! The results as a table, and as the document that stands in the repository.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::case::Row;
use super::parts::Cost;
use crate::machine::Machine;
use crate::numbers::{median, range, short};
use crate::{chart, document};

const WHAT: &str = "\
The agent's programs run by `BPF_PROG_TEST_RUN` on TCP segments without data, in namespaces and with maps of their own. The
rounds are interleaved. A figure is the median of the rounds, with the lowest and the highest in brackets, in nanoseconds over a
program that does nothing, which is run on the same frame right before.

- Each round loads the agent's programs anew. Where in memory the kernel puts them is random, and the same instructions may take a third
  longer in one place than in another.
- P7 and P10: a packet again and again in the kernel's own loop; all that it touches is in the nearest cache. The endpoint of
  every Service is its VIP itself, so that a translated packet is the same packet: every step is taken but for the change of a
  port. P10 is the mean of 64 such loops, each of another address: to the filters some of them look like a VIP's or a backend's.
- *Past the stack* (P7): the same with `--redirect=on`, to a pod behind a veth a hop away. A small program writes the packet's headers anew
  before each run, for they are changed. What the kernel then does with the packet is not in it.
- P8 and P9: the same loop, in which a small program gives each run the addresses and ports of another client and goes on with the
  agent's, by a tail call. Before the empty program it is what is subtracted. Established flows come in random order, each as often.
  New flows never were.
- *Fresh* (P11b): each packet is a system call of its own, with a buffer of its own; the middle one of a round counts. It includes
  what the caches have forgotten between two packets, so it is nearer to a device's life and further from the program.
- Every established flow of a row has had a packet right before, so that its stamp, which is renewed once a second, is not due.
- Each Service has one endpoint. Where there are many, clients speak to all of them. The table of flows has the agent's
  default size, but where flows begin: there it has room for twice as many as begin, or for 262 144 and is full.
- *LRU*: the same without the table of flows, as on kernels before Linux 5.12 and on processors other than x86-64.
- The data plane's own counters must show after each measurement that every packet was what the row says: of a known flow, of a new one,
  or of none. A table is *full* where at least nine of ten new flows have displaced an entry, and has *room* where at most one has.
- *Map operations* are those of the same decisions in memory, on the same packets (of P10, on one that no filter takes for another's): loads from arrays, lookups of rows, flows that are
  sought, flows and rows that are written. What a flow that is written or sought costs in the kernel's maps is for the table of
  flows to say: one that is written may be two entries.
- *Verified*: instructions that the verifier walks of the program that the packet runs through, in all of its ways.
";

const PARTS: &str = "\
A program that calls one helper, over one that does nothing, on a segment of IPv4 in the nearest cache: what a decision that needs it pays
at least. A translation needs the transport checksum once. Where it changes no port it needs nothing else of the kernel but two array
elements, which are read without a call. Past the stack it takes a tail call, two rows of a hash (the sender's, which tells that the source
address is its own, and the receiver's), the device's answer and the handing over.";

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Results {
    pub command: String,
    pub machine: Machine,
    pub settings: Settings,
    /// Of the machine, before each round.
    pub load_averages: Vec<f64>,
    /// Instructions that the verifier walked, by program; none before Linux 5.16.
    pub verified: Vec<(&'static str, Option<u32>)>,
    pub rows: Vec<Row>,
    /// What the kernel's own parts cost.
    pub parts: Vec<Cost>,
}

/// How much was measured.
#[derive(Debug, Serialize)]
pub struct Settings {
    pub rounds: u32,
    pub repeat: u32,
    pub samples: u32,
}

/// Writes `FILE.md`, `FILE.json` and the chart.
///
/// # Errors
/// When they cannot be written.
pub fn write(results: &Results, file: &Path) -> Result<()> {
    let json = document::write(file, results, &page(results))?;
    chart::of_packet(&json)
}

fn page(results: &Results) -> String {
    let Results {
        machine, settings, ..
    } = results;
    let mut text = String::from(
        "# What a packet costs\n\nIn the programs alone, without device and stack. Written by the command below; what every round gave is in [packet.json](packet.json).\n\n",
    );
    let _ = writeln!(text, "```\n{}\n```\n", results.command);
    let _ = writeln!(
        text,
        "{machine}. {} rounds; in each of them {} packets of known flows or none in a loop, and {} of new flows or fresh ones, for each row.",
        settings.rounds, settings.repeat, settings.samples,
    );
    if let Some((low, high)) = range(&results.load_averages) {
        let _ = writeln!(
            text,
            "Load average of the machine before each round: {low} to {high}; the first comes from before."
        );
    }
    let walked: Vec<String> = results
        .verified
        .iter()
        .filter_map(|(name, walked)| walked.map(|walked| format!("{walked} of `{name}`")))
        .collect();
    if !walked.is_empty() {
        let _ = writeln!(
            text,
            "Instructions that the verifier walks: {}.",
            walked.join(", ")
        );
    }
    text += "\n![what a packet costs](packet-cost.svg)\n\n";
    text += &tables(results);
    text += "\n## How it is measured\n\n";
    text += WHAT;
    text
}

/// All tables.
pub fn tables(results: &Results) -> String {
    format!(
        "{}\n## What of it is the kernel's\n\n{PARTS}\n\n{}",
        table(results),
        parts(&results.parts)
    )
}

/// One row for each of the kernel's parts.
fn parts(costs: &[Cost]) -> String {
    let mut text = String::from("| part | ns |\n|---|---|\n");
    for cost in costs {
        if let (Some(value), Some((low, high))) =
            (median(&cost.nanoseconds), range(&cost.nanoseconds))
        {
            let (value, low, high) = (short(value), short(low), short(high));
            let _ = writeln!(text, "| {} | {value} ({low}–{high}) |", cost.what);
        }
    }
    text
}

/// One row for each case.
fn table(results: &Results) -> String {
    let mut text = String::from(
        "| goal | packet | family | Services | ns | gate | goal | meets | map operations | verified |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &results.rows {
        let (Some(value), Some((low, high))) = (median(&row.nanoseconds), range(&row.nanoseconds))
        else {
            continue;
        };
        let [gate, goal] = document::limits(row.limits);
        let meets = document::meets(row.limits, value);
        let verified = row.verified.map_or(String::new(), |it| it.to_string());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} ({}–{}) | {gate} | {goal} | {meets} | {} | {verified} |",
            row.goal,
            row.what,
            row.family,
            row.services,
            short(value),
            short(low),
            short(high),
            row.operations,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::case::USUAL;
    use super::super::operations::Counted;
    use super::super::services::vips;
    use super::*;

    #[test]
    fn a_table_says_what_is_met() {
        let row = |nanoseconds: &[f64]| Row {
            goal: "P7",
            what: "established",
            family: "IPv4",
            services: 1,
            limits: Some([80.0, 35.0]),
            operations: Counted::of(USUAL[0].packets, vips(0)[0]),
            verified: Some(9),
            nanoseconds: nanoseconds.to_vec(),
        };
        let results = Results {
            command: String::new(),
            machine: Machine::unknown(),
            settings: Settings {
                rounds: 3,
                repeat: 1,
                samples: 1,
            },
            load_averages: vec![0.5],
            verified: vec![("from_workload", Some(7))],
            rows: vec![row(&[90.0, 70.0, 75.0]), row(&[81.0]), row(&[20.0])],
            parts: vec![Cost {
                what: "the clock",
                nanoseconds: vec![2.0, 1.0, 3.0],
            }],
        };
        let text = tables(&results);
        for line in [
            "| P7 | established | IPv4 | 1 | 75.0 (70.0–90.0) | ≤ 80 | ≤ 35 | gate | 1 load, 1 flow sought | 9 |",
            "| 81.0 (81.0–81.0) | ≤ 80 | ≤ 35 | **no** |",
            "| 20.0 (20.0–20.0) | ≤ 80 | ≤ 35 | goal |",
            "| the clock | 2.00 (1.00–3.00) |",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(page(&results).contains("walks: 7 of `from_workload`."));
    }
}
