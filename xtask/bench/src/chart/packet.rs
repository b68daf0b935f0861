//! What a packet costs: a panel for each case, with marks at gate and goal.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use super::svg::{Axis, Bar, Chart, Panel, Tone};
use super::{read, source, write};
use crate::machine::Machine;
use crate::numbers::{median, range, short};

/// As much of the results as is drawn.
#[derive(Deserialize)]
struct Results {
    command: String,
    machine: Machine,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    goal: String,
    what: String,
    family: String,
    services: u32,
    limits: Option<[f64; 2]>,
    nanoseconds: Vec<f64>,
}

/// Draws `FILE-cost.svg`.
///
/// # Errors
/// When the results are not readable or the chart cannot be written.
pub fn of_packet(json: &Path) -> Result<()> {
    let results: Results = read(json)?;
    let mut panels: Vec<Panel> = Vec::new();
    for row in &results.rows {
        let Some(bar) = bar(row) else {
            continue;
        };
        let title = format!("{}: {}, ns", row.goal, row.what);
        match panels.iter_mut().find(|panel| panel.title == title) {
            Some(panel) => panel.bars.push(bar),
            None => panels.push(Panel {
                title,
                axis: Axis::Linear,
                reference: None,
                bars: vec![bar],
            }),
        }
    }
    let chart = Chart {
        title: "What a packet costs over an empty program; marks: goal and gate".to_owned(),
        source: source(&results.command, &results.machine),
        columns: 2,
        panels,
    };
    write(json, "cost", &chart)
}

fn bar(row: &Row) -> Option<Bar> {
    let value = median(&row.nanoseconds)?;
    let (low, high) = range(&row.nanoseconds)?;
    let many = if row.services == 1 { "" } else { "s" };
    Some(Bar {
        label: format!("{}, {} Service{many}", row.family, row.services),
        value,
        low,
        high,
        text: short(value),
        tone: if row.family == "IPv4" {
            Tone::Own
        } else {
            Tone::OwnToo
        },
        limits: row.limits.map(Vec::from).unwrap_or_default(),
    })
}
