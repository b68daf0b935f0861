//! The results as tables, and as the document that stands in the repository.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::goals::{Figure, ROWS};
use super::proxy::Kind;
use super::results::{Results, Size};
use crate::numbers::{range, short};
use crate::{chart, document};

const WHAT: &str = "\
Every data plane runs alone on a fresh node (a network namespace) and follows the same API server: etcd and kube-apiserver of
the test cluster, on the same machine. The rounds are interleaved. A figure is the median of the rounds, or the percentile of
all changes of all rounds; in brackets are the lowest and the highest round.

- *Start*: the process is started with nothing in the kernel. A client in a pod asks one Service again and again; the first
  answer ends the cold start. That all Services are there by then is counted in the kernel.
- *Change*: the one endpoint of that Service is exchanged by a PATCH of its EndpointSlice. Each time, the client asks over a
  new connection about every millisecond until the new backend answers. The watch event is timed where its octets reach the
  node, the maps by the counter of completed writes in the map `config`, looked at every 100 µs.
- *While others change*: the same, while endpoints of other Services are exchanged at a steady rate.
- An isolated change comes 0.1 s after the last answer for `lb` and 1.1 s after it for kube-proxy, which collects changes for
  a second after each pass (its default).
- kube-proxy in nftables mode reads the whole table back in each pass (`nft --json --terse list table`), which takes most of
  it; nft is a recent one (see above).
- A pass over maps or rules is what the program itself says in `kubeproxy_sync_proxy_rules_duration_seconds` (of IPv4).
- CPU is that of the process and of the programs that it runs; memory is the process's alone, mapped BPF arrays included.
- API requests and watch events pass through a relay in user space, for all alike.
";

/// Writes `FILE.md`, `FILE.json` and the chart.
///
/// # Errors
/// When they cannot be written.
pub fn write(results: &Results, file: &Path) -> Result<()> {
    let json = document::write(file, results, &page(results))?;
    chart::of_control_plane(&json)
}

/// All tables, one for each number of Services.
pub fn tables(results: &Results) -> String {
    let tables: Vec<String> = results.sizes.iter().map(table).collect();
    tables.join("\n")
}

fn page(results: &Results) -> String {
    let machine = &results.machine;
    let settings = &results.settings;
    let mut text = String::from(
        "# From the API to the kernel\n\nHow fast, and at what cost, Services and changes of their endpoints come into force. \
         Written by the command below; what every round gave is in [control-plane.json](control-plane.json).\n\n",
    );
    let _ = writeln!(text, "```\n{}\n```\n", results.command);
    let _ = writeln!(
        text,
        "{machine}. {} rounds; in each {} changes alone (five times as many for `lb`, which needs no rest between), and {} s with {} changes of others a second.\n",
        settings.rounds, settings.changes, settings.churn_seconds, settings.churn,
    );
    let versions: Vec<String> = results
        .versions
        .iter()
        .map(|it| format!("{}: {}", it.program, it.version))
        .collect();
    let _ = writeln!(text, "{}.\n", versions.join("; "));
    text += "![figures with a goal](control-plane-goals.svg)\n\n";
    text += &tables(results);
    text += "\n## How it is measured\n\n";
    text += WHAT;
    text
}

fn table(size: &Size) -> String {
    let mut text = format!("## {} Services with 3 endpoints each\n\n", size.services);
    let loads: Vec<f64> = size
        .proxies
        .iter()
        .flat_map(|it| it.rounds.iter().map(|round| round.load_average))
        .collect();
    if let Some((low, high)) = range(&loads) {
        let _ = writeln!(
            text,
            "Load average of the machine before each start: {low} to {high}. The last start's own load is in it.\n"
        );
    }
    let names: Vec<&str> = size.proxies.iter().map(|it| it.kind.name()).collect();
    let _ = writeln!(
        text,
        "| goal | figure | {} | gate | goal | `lb` meets |",
        names.join(" | ")
    );
    let _ = writeln!(text, "|---|---|{}---|---|---|", "---|".repeat(names.len()));
    for row in ROWS {
        let figures: Vec<Option<Figure>> = size
            .proxies
            .iter()
            .map(|it| row.figure(&it.rounds))
            .collect();
        if figures.iter().all(Option::is_none) {
            continue;
        }
        let own = size.proxies.iter().position(|it| it.kind == Kind::Lb);
        let own = own.and_then(|index| figures[index]);
        let cells: Vec<String> = figures.into_iter().map(cell).collect();
        let [gate, goal] = document::limits(row.limits);
        let _ = writeln!(
            text,
            "| {} | {}{} | {} | {gate} | {goal} | {} |",
            row.goal_id,
            row.what,
            if row.unit.is_empty() {
                String::new()
            } else {
                format!(", {}", row.unit)
            },
            cells.join(" | "),
            own.map_or("", |figure| document::meets(row.limits, figure.value)),
        );
    }
    text
}

fn cell(figure: Option<Figure>) -> String {
    figure.map_or("–".to_owned(), |figure| {
        format!(
            "{} ({}–{})",
            short(figure.value),
            short(figure.low),
            short(figure.high)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::results::Round;

    #[test]
    fn a_table_says_what_is_met() {
        let mut size = Size::new(10_000);
        for (kind, cold_start) in [(Kind::Lb, 0.4), (Kind::Nftables, 9.0)] {
            let round = Round {
                cold_start,
                resident_end: 100.0,
                busy_cpu: 2.0,
                ..Round::default()
            };
            size.add(kind, round);
        }
        let text = table(&size);
        for line in [
            "| P17 | cold start to first answer, s | 0.400 (0.400–0.400) | 9.00 (9.00–9.00) | ≤ 1.5 | ≤ 0.5 | goal |",
            "| P15 | CPU while others change, % of a core | 2.00 (2.00–2.00) | 2.00 (2.00–2.00) | ≤ 3 | ≤ 0.5 | gate |",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.contains("| ≤ 90 | ≤ 40 | **no** |"), "{text}");
    }
}
