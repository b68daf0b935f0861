//! The results as tables, and as the document that stands in the repository.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::goals::{self, Goal};
use super::mode::{Asks, Place, Plane, Workload};
use super::results::{Results, Row};
use crate::chart;
use crate::numbers::{median, range, short};

const WHAT: &str = "\
Each data plane has two nodes of its own: network namespaces, joined by a veth; pods are namespaces behind a veth, and their node
routes to them. All data planes are up at the same time. In each round every figure is taken once; those that are compared are taken
right after each other, each round in another order. A ratio is that of two figures of the same round; the tables have the median of the rounds, with the
lowest and the highest in brackets.

- *direct*: the client asks the pod's own address; the nodes have no load balancer and no netfilter rule.
- *kube-proxy*: the real one follows a real API server on both nodes until its rules are written, and ends; the rules stay. Each Service has
  three endpoints. The measured Services come last.
- *lb*: the agent runs on both nodes, with the flags that its name says and a Service CIDR; else with its defaults. The other Services of
  many are written into its maps by its own library, with one endpoint each.
- *for no Service*: the client asks the pod's own address on nodes that have that data plane.
- The programs at sockets are attached to groups of the testbed's own, with clients and servers in them. With `--socket-lb=all` too, a
  connected UDP socket of a pod goes by its packets.
- *RR*: an octet to and fro on one TCP connection. *CRR*: a connection for each. *UDP_RR*: an octet to and fro from one connected UDP socket.
  Compared is the time of the transaction in the middle. *stream*: one TCP connection, 128 KiB at a time; compared is the rate.
- Client and server are processes with blocking sockets on one and the same processor; TCP uses cubic on both ends. IPv4.
- CPU is what the whole machine was busy with, interrupts included, for each transaction.
- No transaction failed: a measurement with a refused connection, a lost datagram or a missing octet ends the run. After each, the
  kernel's counters of forwarded packets must show that packets took the way that the data plane's name says.
";

/// Writes `FILE.md`, `FILE.json` and the charts.
///
/// # Errors
/// When they cannot be written.
pub fn write(results: &Results, file: &Path) -> Result<()> {
    let json = file.with_extension("json");
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let text = serde_json::to_string(results)? + "\n";
    fs::write(&json, text).with_context(|| json.display().to_string())?;
    let document = file.with_extension("md");
    fs::write(&document, page(results)).with_context(|| document.display().to_string())?;
    chart::of_traffic(&json)
}

fn page(results: &Results) -> String {
    let Results {
        machine, settings, ..
    } = results;
    let mut text = String::from(
        "# What a request costs\n\nFrom pod to pod, with devices and stack. Written by the command below; what every round gave is in [traffic.json](traffic.json).\n\n",
    );
    let _ = writeln!(text, "```\n{}\n```\n", results.command);
    let _ = writeln!(
        text,
        "{}, commit {}, Linux {}, {} × {}. {} rounds, {} ms for each figure, clients and servers on processor {}.",
        machine.date,
        machine.commit,
        machine.kernel,
        machine.cpus,
        machine.cpu,
        settings.rounds,
        settings.milliseconds,
        settings.cpu,
    );
    if let Some((low, high)) = range(&results.load_averages) {
        let _ = writeln!(
            text,
            "Load average of the machine before each round: {low} to {high}; the run itself keeps one processor busy."
        );
    }
    let versions: Vec<String> = results
        .versions
        .iter()
        .map(|it| format!("{}: {}", it.program, it.version))
        .collect();
    let _ = writeln!(text, "{}.", versions.join("; "));
    let _ = writeln!(
        text,
        "TCP segments that were sent again, in all measurements together: {}.\n",
        results.retransmitted
    );
    for place in Place::ALL {
        let name = place.name();
        let _ = writeln!(text, "![{name} traffic](traffic-{name}.svg)\n");
    }
    text += &tables(results);
    text += "\n## How it is measured\n\n";
    text += WHAT;
    text
}

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
    let mut text = format!("| goal | figure, with the most Services | ratio |{}", "");
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
        let of = |figure: fn(&super::client::Sample) -> f64| {
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
        let text = page(&results);
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
