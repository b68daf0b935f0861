//! The results as tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::beside;
use super::client::Sample;
use super::goals::{self, Goal};
use super::mode::{Asks, Place, Plane, Workload};
use super::results::{Results, Row};
use crate::numbers::{median, short};

/// What stands where there is nothing.
const NONE: &str = "–";

/// Functions that take less, in nanoseconds of a request, are not named.
const LEAST: f64 = 10.0;

const HOOKS: &str = "\
A packet that goes by the host's stack passes two hooks on its way, and so does its answer. The kernel's own part of that is paid by
every program that is attached there.";

/// All tables.
pub fn tables(results: &Results) -> String {
    let mut text = String::from("## Goals\n\n");
    text += &goals(results);
    let _ = write!(
        text,
        "\n## Beside kube-proxy\n\n{}",
        beside::tables(results)
    );
    if let Some(table) = hooks(results) {
        let _ = write!(text, "\n## What the hooks cost\n\n{HOOKS}\n\n{table}");
    }
    let _ = write!(text, "{}", profiles(results));
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

/// Every goal with its gate and what is met, and how many meet what.
fn goals(results: &Results) -> String {
    let proxies = beside::kube_proxies(results);
    let most = |is_it: &dyn Fn(Plane) -> bool| {
        let modes = results.modes().into_iter();
        let services = modes.filter(|mode| is_it(mode.plane));
        services.map(|mode| mode.services).max().unwrap_or(0)
    };
    let mut text = format!(
        "| goal | figure, with {} Services | ratio |",
        most(&Plane::is_lb)
    );
    for proxy in &proxies {
        let _ = write!(
            text,
            " {}, {} |",
            proxy.name(),
            most(&|plane| plane == *proxy)
        );
    }
    text += " gate | goal | meets |\n|---|---|---|";
    text += &"---|".repeat(proxies.len());
    text += "---|---|---|\n";
    let mut met: BTreeMap<&str, u32> = BTreeMap::new();
    for goal in goals::all() {
        let figure = goal.figure(results);
        let verdict = figure.map_or("not measured", |it| goal.verdict(it.value));
        *met.entry(verdict).or_default() += 1;
        let ratio = figure.map_or(NONE.to_owned(), |it| it.to_string());
        let _ = write!(text, "| {} | {} | {ratio} |", goal.id, goal.what());
        for plane in &proxies {
            let theirs = goal.of(results, *plane);
            let theirs = theirs.map_or(NONE.to_owned(), |it| format!("{:.2}", it.value));
            let _ = write!(text, " {theirs} |");
        }
        let _ = writeln!(
            text,
            " {} | {} | {verdict} |",
            limit(&goal, Some(goal.gate)),
            limit(&goal, goal.goal),
        );
    }
    let count = |verdict| met.get(verdict).copied().unwrap_or(0);
    let _ = writeln!(
        text,
        "\nOf {} figures, {} meet their goal, {} their gate alone, {} neither; {} were not measured.",
        met.values().sum::<u32>(),
        count("goal"),
        count("gate"),
        count("**no**"),
        count("not measured"),
    );
    text
}

/// What traffic for no Service pays for hooks, and for what lb does there; nothing where programs that do nothing were not measured.
fn hooks(results: &Results) -> Option<String> {
    let mut text = String::from(
        "| for no Service | programs that do nothing ÷ direct | lb ÷ programs that do nothing | lb ÷ direct |\n|---|---|---|---|\n",
    );
    for place in Place::ALL {
        for workload in [Workload::TcpRr, Workload::TcpCrr] {
            let of = |plane| results.extreme(plane, Asks::Pod, true, place, workload);
            let (direct, idle, lb) = (of(Plane::Direct)?, of(Plane::Idle)?, of(Plane::Stack)?);
            let ratios = [idle.over(direct), lb.over(idle), lb.over(direct)];
            let cells = ratios.map(|it| it.map_or(NONE.to_owned(), |it| it.to_string()));
            let name = format!("{} {}", place.name(), workload.name());
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
    }
    Some(text)
}

/// Where the time of a request goes, a column for each data plane.
fn profiles(results: &Results) -> String {
    let mut text = String::new();
    for place in Place::ALL {
        let of_place = results.profiles.iter().filter(|it| it.place == place);
        let of_place: Vec<_> = of_place.collect();
        if of_place.is_empty() {
            continue;
        }
        let names: Vec<String> = of_place.iter().map(|it| it.mode.name()).collect();
        let _ = write!(
            text,
            "\n## {}: where the time of RR goes, in nanoseconds\n\n| part of the kernel | {} |\n|---|{}\n",
            title(place),
            names.join(" | "),
            "---|".repeat(names.len()),
        );
        let parts = of_place[0].parts().map(|(part, _)| part);
        for part in parts {
            let cells = of_place.iter().map(|it| {
                let of_part = it.parts().find(|(name, _)| *name == part);
                of_part.map_or(NONE.to_owned(), |(_, ns)| format!("{ns:.0}"))
            });
            let cells: Vec<String> = cells.collect();
            let _ = writeln!(text, "| {part} | {} |", cells.join(" | "));
        }
        let sums: Vec<String> = of_place
            .iter()
            .map(|it| format!("**{:.0}**", it.transaction))
            .collect();
        let _ = writeln!(text, "| **together** | {} |\n", sums.join(" | "));
        for profile in of_place.iter().filter(|it| it.mode.plane.is_lb()) {
            let functions = profile.functions(LEAST);
            let functions: Vec<String> = functions
                .map(|(name, ns)| format!("`{name}` {ns:.0}"))
                .collect();
            let _ = writeln!(
                text,
                "BPF programs and helpers of {}: {}.\n",
                profile.mode.name(),
                functions.join(", ")
            );
        }
    }
    text
}

fn limit(goal: &Goal, limit: Option<f64>) -> String {
    let sign = if goal.is_rate() { '≥' } else { '≤' };
    limit.map_or(NONE.to_owned(), |limit| format!("{sign} {limit}"))
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
            .map(|cell| cell.unwrap_or_else(|| NONE.to_owned()))
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
    use super::super::profile::Profile;
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
    fn a_table_says_where_the_time_goes() {
        let mut results = of(redirect(), Place::Local, Workload::TcpRr, &[10.0], &[9.0]);
        let profile = |mode, transaction, programs: f64| Profile {
            mode,
            place: Place::Local,
            transaction,
            samples: 9,
            shares: vec![
                ("BPF".to_owned(), programs),
                ("else".to_owned(), 1.0 - programs),
            ],
            programs: vec![
                ("from_pod".to_owned(), programs),
                ("to_pod".to_owned(), 0.001),
            ],
        };
        let direct = results.modes()[0];
        results.profiles = vec![
            profile(direct, 10_000.0, 0.0),
            profile(redirect(), 9_000.0, 0.1),
        ];
        let text = tables(&results);
        for line in [
            "| part of the kernel | direct | lb redirect, 100 |",
            "| BPF | 0 | 900 |",
            "| else | 10000 | 8100 |",
            "| **together** | **10000** | **9000** |",
            "BPF programs and helpers of lb redirect, 100: `from_pod` 900.",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
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
            "| goal | figure, with 100 Services | ratio | gate | goal | meets |",
            "| P2 | lb redirect: local RR ÷ direct | 0.90 (0.80–0.92) | ≤ 0.95 | ≤ 0.88 | gate |",
            "| P2 | lb redirect: local CRR ÷ direct | – | ≤ 0.96 | ≤ 0.88 | not measured |",
            "Of 26 figures, 0 meet their goal, 1 their gate alone, 0 neither; 25 were not measured.",
            "| lb redirect, 100 | 0.90 (0.80–0.92) | – | – | – |",
            "kube-proxy was not measured.",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
