//! Whether lb is ahead of kube-proxy, cell by cell: every mode of lb, in each workload at each place, against every kube-proxy.

use std::fmt::Write as _;

use super::mode::{Place, Plane, Workload};
use super::results::{Ratio, Results, Row};

/// A table for each kube-proxy, and what they come to.
pub fn tables(results: &Results) -> String {
    let proxies = kube_proxies(results);
    if proxies.is_empty() {
        return "kube-proxy was not measured.\n".to_owned();
    }
    if !results.modes().iter().any(|mode| mode.plane.is_lb()) {
        return "lb was not measured.\n".to_owned();
    }
    let mut text = String::from(
        "lb divided by kube-proxy, where both have the same traffic. kube-proxy stands in each cell with the number of Services with which it \
         does best there. Less than 1 is ahead, of a stream more than 1.\n",
    );
    for proxy in proxies {
        let _ = write!(text, "\n{}", table(results, proxy));
    }
    let _ = write!(text, "\n{}", verdict(results));
    text
}

/// Those that were measured.
pub fn kube_proxies(results: &Results) -> Vec<Plane> {
    let planes = results.modes().into_iter().map(|mode| mode.plane);
    let mut planes: Vec<Plane> = planes.filter(|plane| plane.is_kube_proxy()).collect();
    planes.dedup();
    planes
}

/// Every mode of lb against one kube-proxy.
fn table(results: &Results, proxy: Plane) -> String {
    let cells = || {
        Place::ALL
            .into_iter()
            .flat_map(|place| Workload::ALL.map(|it| (place, it)))
    };
    let mut text = format!("| ÷ {} |", proxy.name());
    for (place, workload) in cells() {
        let _ = write!(text, " {} {} |", place.name(), workload.name());
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(cells().count()));
    for mode in results
        .modes()
        .into_iter()
        .filter(|mode| mode.plane.is_lb())
    {
        let _ = write!(text, "| {} |", mode.name());
        for (place, workload) in cells() {
            let own = results.row(mode, place, workload);
            let cell = own.and_then(|own| Cell::against_the_best(results, own, proxy));
            let _ = write!(text, " {} |", cell.map_or("–".to_owned(), Cell::text));
        }
        text += "\n";
    }
    text
}

/// How many comparisons there are, with every number of kube-proxy's Services, and each in which lb is behind.
fn verdict(results: &Results) -> String {
    let mut count = 0;
    let mut behind = Vec::new();
    for own in results.rows.iter().filter(|row| row.mode.plane.is_lb()) {
        for their in kube_proxies(results)
            .into_iter()
            .flat_map(|it| theirs(results, own, it))
        {
            let Some(cell) = Cell::of(own, their) else {
                continue;
            };
            count += 1;
            if !cell.is_ahead() {
                behind.push(format!(
                    "- {} {}: {} ÷ {} is {}\n",
                    own.place.name(),
                    own.workload.name(),
                    own.mode.name(),
                    their.mode.name(),
                    cell.ratio
                ));
            }
        }
    }
    let what = "With every number of Services on either side";
    if behind.is_empty() {
        return format!("{what}, lb is ahead in all {count} comparisons.\n");
    }
    format!(
        "{what}, of {count} comparisons, lb is ahead in all but {}:\n\n{}",
        behind.len(),
        behind.concat()
    )
}

/// What a row of lb's is compared with: the same traffic at the same place, with any number of Services.
fn theirs<'a>(results: &'a Results, own: &'a Row, proxy: Plane) -> impl Iterator<Item = &'a Row> {
    let traffic = |row: &Row| (row.mode.asks, row.place, row.workload);
    let rows = results.rows.iter();
    rows.filter(move |row| row.mode.plane == proxy && traffic(row) == traffic(own))
}

/// A comparison.
#[derive(Debug, Clone, Copy)]
struct Cell {
    ratio: Ratio,
    is_rate: bool,
}

impl Cell {
    fn of(own: &Row, their: &Row) -> Option<Self> {
        Some(Self {
            ratio: own.over(their)?,
            is_rate: own.workload == Workload::Stream,
        })
    }

    /// Against the number of Services with which kube-proxy does best.
    fn against_the_best(results: &Results, own: &Row, proxy: Plane) -> Option<Self> {
        let cells = theirs(results, own, proxy).filter_map(|their| Self::of(own, their));
        cells.max_by(|one, other| one.cost().total_cmp(&other.cost()))
    }

    /// As a time: less is better, and less than 1 is ahead.
    fn cost(self) -> f64 {
        if self.is_rate {
            1.0 / self.ratio.value
        } else {
            self.ratio.value
        }
    }

    fn is_ahead(self) -> bool {
        self.cost() < 1.0
    }

    fn text(self) -> String {
        if self.is_ahead() {
            self.ratio.to_string()
        } else {
            format!("**{}**, behind", self.ratio)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mode::{Asks, Mode};
    use super::super::results::tests::of;
    use super::*;

    const OWN: Mode = Mode {
        plane: Plane::Redirect,
        asks: Asks::Vip,
        services: 100,
    };

    /// Ours, with 2, and theirs with 1 and 10 Services, in one round.
    fn beside(workload: Workload, theirs: [f64; 2]) -> String {
        let mut results = of(OWN, Place::Local, workload, &[1.0], &[2.0]);
        for (services, figure) in [1, 10].into_iter().zip(theirs) {
            let nftables = Mode {
                plane: Plane::Nftables,
                services,
                ..OWN
            };
            let other = of(nftables, Place::Local, workload, &[1.0], &[figure]);
            results.rows.extend(other.rows.into_iter().skip(1));
        }
        tables(&results)
    }

    #[track_caller]
    fn check(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn where_lb_is_ahead_everywhere_the_document_says_so() {
        check(
            &beside(Workload::TcpRr, [4.0, 8.0]),
            &[
                "| ÷ kube-proxy nftables | local RR | local CRR | local UDP_RR | local stream | remote RR |",
                "| lb redirect, 100 | 0.50 (0.50–0.50) | – | – | – | – |",
                "lb is ahead in all 2 comparisons.",
            ],
        );
        check(
            &beside(Workload::Stream, [1.0, 0.5]),
            &[
                "| lb redirect, 100 | – | – | – | 2.00 (2.00–2.00) | – |",
                "lb is ahead in all 2 comparisons.",
            ],
        );
    }

    #[test]
    fn a_cell_is_told_in_which_kube_proxy_is_as_good_with_any_number_of_services() {
        check(
            &beside(Workload::TcpRr, [2.0, 8.0]),
            &[
                "| lb redirect, 100 | **1.00 (1.00–1.00)**, behind | – |",
                "of 2 comparisons, lb is ahead in all but 1:",
                "- local RR: lb redirect, 100 ÷ kube-proxy nftables, 1 is 1.00 (1.00–1.00)",
            ],
        );
        check(
            &beside(Workload::Stream, [4.0, 1.0]),
            &[
                "| **0.50 (0.50–0.50)**, behind |",
                "- local stream: lb redirect, 100 ÷ kube-proxy nftables, 1 is 0.50 (0.50–0.50)",
            ],
        );
    }

    #[test]
    fn traffic_for_no_service_is_compared_with_its_like() {
        let asks = Asks::Pod;
        let own = Mode { asks, ..OWN };
        let mut results = of(own, Place::Local, Workload::TcpRr, &[1.0], &[1.0]);
        for (asks, figure) in [(Asks::Vip, 0.5), (Asks::Pod, 2.0)] {
            let plane = Plane::Iptables;
            let other = Mode { plane, asks, ..OWN };
            let other = of(other, Place::Local, Workload::TcpRr, &[1.0], &[figure]);
            results.rows.extend(other.rows.into_iter().skip(1));
        }
        check(
            &tables(&results),
            &[
                "| lb redirect, 100, for no Service | 0.50 (0.50–0.50) | – |",
                "lb is ahead in all 1 comparisons.",
            ],
        );
    }

    #[test]
    fn nobody_is_ahead_of_what_was_not_measured() {
        let results = of(OWN, Place::Local, Workload::TcpRr, &[1.0], &[1.0]);
        assert_eq!(tables(&results), "kube-proxy was not measured.\n");
        let plane = Plane::Iptables;
        let other = Mode { plane, ..OWN };
        let results = of(other, Place::Local, Workload::TcpRr, &[1.0], &[1.0]);
        assert_eq!(tables(&results), "lb was not measured.\n");
    }
}
