//! From the API to the kernel: the figures with a goal, with the most Services, beside kube-proxy. They differ by orders of magnitude, so the
//! axes are logarithmic.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::svg::{Axis, Bar, Chart, Panel, Tone};
use super::{read, source, write};
use crate::control_plane::goals::{ROWS, Row};
use crate::control_plane::proxy::Kind;
use crate::control_plane::results::Size;
use crate::machine::Machine;
use crate::numbers::short;

/// As much of the results as is drawn.
#[derive(Deserialize)]
struct Results {
    command: String,
    machine: Machine,
    sizes: Vec<Size>,
}

/// Draws `FILE-goals.svg`.
///
/// # Errors
/// When the results are not readable or the chart cannot be written.
pub fn of_control_plane(json: &Path) -> Result<()> {
    let results: Results = read(json)?;
    let most = results.sizes.iter().max_by_key(|size| size.services);
    let most = most.context("the results have no size")?;
    // Percentiles of one figure follow each other; only the first has its words.
    let mut median = "";
    let mut panels = Vec::new();
    for row in ROWS {
        let what = match row.what.strip_prefix("… p99") {
            Some(_) => median.replace("p50", "p99"),
            None => row.what.trim_start_matches("… ").to_owned(),
        };
        if row.what.ends_with("p50") {
            median = row.what;
        }
        if row.limits.is_some() {
            panels.push(panel(row, &what, most));
        }
    }
    panels.retain(|panel| !panel.bars.is_empty());
    let chart = Chart {
        title: format!(
            "From the API to the kernel, {} Services; less is better, axes are logarithmic, marks: goal and gate",
            most.services
        ),
        source: source(&results.command, &results.machine),
        columns: 2,
        panels,
    };
    write(json, "goals", &chart)
}

fn panel(row: &Row, what: &str, size: &Size) -> Panel {
    let bars = size.proxies.iter().filter_map(|proxy| {
        let figure = row.figure(&proxy.rounds)?;
        Some(Bar {
            label: proxy.kind.name().to_owned(),
            value: figure.value,
            low: figure.low,
            high: figure.high,
            text: short(figure.value),
            tone: match proxy.kind {
                Kind::Lb => Tone::Own,
                Kind::Nftables => Tone::Other,
                Kind::Iptables | Kind::IptablesNft => Tone::Another,
            },
            limits: row.limits.map(Vec::from).unwrap_or_default(),
        })
    });
    Panel {
        title: format!("{}: {what}, {}", row.goal_id, row.unit),
        axis: Axis::Logarithmic,
        reference: None,
        bars: bars.collect(),
    }
}
