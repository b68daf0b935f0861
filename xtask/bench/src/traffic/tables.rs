//! The results as tables.

use std::fmt::Write as _;

use super::client::Sample;
use super::goals::{self, Goal};
use super::mode::{Asks, Place, Plane, Workload};
use super::results::{Results, Row};
use crate::numbers::{median, short};

/// All tables.
pub fn tables(results: &Results) -> String {
    let mut text = String::from("## Goals\n\n");
    text += &goals(results);
    let _ = write!(text, "\n## Beside kube-proxy\n\n{}", beside(results));
    for place in Place::ALL {
        let _ = write!(
            text,
            "\n## {}: time (stream: rate) ÷ direct\n\n{}",
            title(place),
            table(results, place, |row, direct| row
                .over(direct)
                .map(|it| it.to_string()))
        );
        if let Some(figures) = absolute(results, place) {
            let _ = write!(text, "\n{figures}\n");
        }
        let _ = write!(
            text,
            "\n## {}: CPU for a transaction (stream: for an octet) ÷ direct\n\n{}",
            title(place),
            table(results, place, |row, direct| row
                .cpu_over(direct)
                .map(|it| it.to_string()))
        );
    }
    text
}

fn title(place: Place) -> &'static str {
    match place {
        Place::Local => "Both pods on one node",
        Place::Remote => "Pods on two nodes",
    }
}

fn goals(results: &Results) -> String {
    let proxies = kube_proxies(results);
    let heads: Vec<String> = proxies
        .iter()
        .map(|plane| {
            let sizes = results.modes().into_iter();
            let most = sizes
                .filter(|mode| mode.plane == *plane)
                .map(|mode| mode.services);
            format!("{}, {}", plane.name(), most.max().unwrap_or(0))
        })
        .collect();
    let mut text = "| goal | figure, with the most Services | ratio |".to_owned();
    for head in &heads {
        let _ = write!(text, " {head} |");
    }
    text += " gate | goal | meets |\n|---|---|---|";
    text += &"---|".repeat(heads.len());
    text += "---|---|---|\n";
    for goal in goals::all() {
        let Some(figure) = goal.figure(results) else {
            continue;
        };
        let _ = write!(text, "| {} | {} | {figure} |", goal.id, goal.what());
        for plane in &proxies {
            let theirs = goal.of(results, *plane);
            let theirs = theirs.map_or("–".to_owned(), |it| format!("{:.2}", it.value));
            let _ = write!(text, " {theirs} |");
        }
        let _ = writeln!(
            text,
            " {} | {} | {} |",
            limit(&goal, Some(goal.gate)),
            limit(&goal, goal.goal),
            goal.verdict(figure.value)
        );
    }
    text
}

fn limit(goal: &Goal, limit: Option<f64>) -> String {
    let sign = if goal.is_rate() { '≥' } else { '≤' };
    limit.map_or(String::new(), |limit| format!("{sign} {limit}"))
}

fn kube_proxies(results: &Results) -> Vec<Plane> {
    let mut planes: Vec<Plane> = Vec::new();
    for mode in results.modes() {
        if mode.plane.is_kube_proxy() && !planes.contains(&mode.plane) {
            planes.push(mode.plane);
        }
    }
    planes
}

/// Every mode of lb against every kube-proxy, cell by cell.
fn beside(results: &Results) -> String {
    let asks_vip = |row: &&Row| row.mode.asks == Asks::Vip;
    let rows = || results.rows.iter().filter(asks_vip);
    let mut count = 0;
    let mut behind = Vec::new();
    for own in rows().filter(|row| row.mode.plane.is_lb()) {
        let theirs = rows().filter(|row| {
            row.mode.plane.is_kube_proxy() && (row.place, row.workload) == (own.place, own.workload)
        });
        for their in theirs {
            let Some(ratio) = own.over(their) else {
                continue;
            };
            count += 1;
            let is_ahead = if own.workload == Workload::Stream {
                ratio.value > 1.0
            } else {
                ratio.value < 1.0
            };
            if !is_ahead {
                behind.push(format!(
                    "- {} {}: {} ÷ {} is {ratio}\n",
                    own.place.name(),
                    own.workload.name(),
                    own.mode.name(),
                    their.mode.name()
                ));
            }
        }
    }
    if count == 0 {
        return "kube-proxy was not measured.\n".to_owned();
    }
    if behind.is_empty() {
        return format!(
            "Each mode of lb with each number of Services, against each of kube-proxy with each number of Services, in each workload at each \
             place: lb is ahead in all {count} comparisons.\n"
        );
    }
    format!(
        "Each mode of lb with each number of Services, against each of kube-proxy with each number of Services, in each workload at each place: of \
         {count} comparisons, lb is ahead in all but {}:\n\n{}",
        behind.len(),
        behind.concat()
    )
}

fn table(results: &Results, place: Place, cell: impl Fn(&Row, &Row) -> Option<String>) -> String {
    let heads: Vec<&str> = Workload::ALL.iter().map(|it| it.name()).collect();
    let mut text = format!("| data plane, Services | {} |\n|---|", heads.join(" | "));
    text += &"---|".repeat(heads.len());
    text += "\n";
    for mode in results.modes().into_iter().skip(1) {
        let cells: Vec<Option<String>> = Workload::ALL
            .iter()
            .map(|workload| {
                let row = results.row(mode, place, *workload)?;
                cell(row, results.direct(place, *workload)?)
            })
            .collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let cells: Vec<String> = cells
            .into_iter()
            .map(|cell| cell.unwrap_or_else(|| "–".to_owned()))
            .collect();
        let _ = writeln!(text, "| {} | {} |", mode.name(), cells.join(" | "));
    }
    text
}

/// What the ratios are of.
fn absolute(results: &Results, place: Place) -> Option<String> {
    let mut parts = Vec::new();
    for workload in Workload::ALL {
        let samples = &results.direct(place, workload)?.samples;
        let of = |figure: fn(&Sample) -> f64| {
            let all: Vec<f64> = samples.iter().map(figure).collect();
            median(&all).map(short)
        };
        parts.push(match workload {
            Workload::Stream => format!("stream {} Gbit/s", of(|it| it.rate)?),
            _ => format!(
                "{} {} µs (99 of 100 within {} µs), {} a second",
                workload.name(),
                of(|it| it.p50.unwrap_or(0.0))?,
                of(|it| it.p99.unwrap_or(0.0))?,
                of(|it| it.rate)?
            ),
        });
    }
    Some(format!("Direct: {}.", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::super::mode::Mode;
    use super::super::results::tests::of;
    use super::*;

    fn redirect() -> Mode {
        Mode {
            plane: Plane::Redirect,
            asks: Asks::Vip,
            services: 100,
        }
    }

    #[test]
    fn a_table_says_what_is_met() {
        let results = of(
            redirect(),
            Place::Local,
            Workload::TcpRr,
            &[10.0, 10.0, 10.0],
            &[9.0, 9.2, 8.0],
        );
        let text = tables(&results);
        for line in [
            "| P2 | lb redirect: local RR ÷ direct | 0.90 (0.80–0.92) | ≤ 0.95 | ≤ 0.88 | gate |",
            "| lb redirect, 100 | 0.90 (0.80–0.92) | – | – | – |",
            "kube-proxy was not measured.",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn where_lb_is_behind_kube_proxy_is_told() {
        let mut results = of(redirect(), Place::Local, Workload::Stream, &[1.0], &[2.0]);
        let nftables = Mode {
            plane: Plane::Nftables,
            ..redirect()
        };
        for (rate, behind) in [(1.9, false), (2.1, true)] {
            let other = of(nftables, Place::Local, Workload::Stream, &[1.0], &[rate]);
            results.rows.truncate(2);
            results.rows.extend(other.rows.into_iter().skip(1));
            let text = beside(&results);
            assert_eq!(text.contains("in all 1 comparisons"), !behind, "{text}");
            assert_eq!(text.contains("is 0.95"), behind, "{text}");
        }
    }
}
