//! The rows of the table: what each figure is, how it comes from the rounds, and what it should be.

use super::results::{Change, Round};
use crate::numbers::{median, percentile, range};

/// A figure with what it should be at most.
pub struct Row {
    /// The goal's number, or nothing.
    pub goal_id: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    /// For the project's own data plane at 10 000 Services: the least that may ship, and the goal.
    pub limits: Option<[f64; 2]>,
    figure: Source,
}

/// A figure with its smallest and largest of all rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

enum Source {
    /// One number a round: the median of all rounds.
    Each(fn(&Round) -> Option<f64>),
    /// Many numbers a round: the percentile of all together.
    Pooled(fn(&Round) -> Vec<f64>, f64),
}

impl Row {
    /// The figure of these rounds.
    pub fn figure(&self, rounds: &[Round]) -> Option<Figure> {
        let (value, each): (_, Vec<f64>) = match self.figure {
            Source::Each(of) => {
                let each: Vec<f64> = rounds.iter().filter_map(of).collect();
                (median(&each)?, each)
            }
            Source::Pooled(of, share) => {
                let each = rounds
                    .iter()
                    .filter_map(|round| percentile(&of(round), share));
                let all: Vec<f64> = rounds.iter().flat_map(of).collect();
                (percentile(&all, share)?, each.collect())
            }
        };
        let (low, high) = range(&each)?;
        Some(Figure { value, low, high })
    }
}

/// All rows, in the order of a data plane's life.
// A row a line, as in the table that it becomes.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("P17", "cold start to first answer", "s", Source::Each(|r| Some(r.cold_start))).at_most(1.5, 0.5),
    row("", "… until everything is in the maps", "s", Source::Each(|r| r.written)),
    row("P12", "last octet of the lists to maps (kube-proxy: to first answer)", "ms", Source::Each(|r| r.list_to_programmed)).at_most(500.0, 100.0),
    row("P12", "… of that, the passes over maps or rules, finding the difference included", "ms", Source::Each(|r| Some(r.pass_at_start))).at_most(50.0, 10.0),
    row("", "CPU time until the first answer", "s", Source::Each(|r| Some(r.cpu_first_answer))),
    row("", "CPU time of the whole start", "s", Source::Each(|r| Some(r.cpu_start))),
    row("", "sent by the API server for it", "MB", Source::Each(|r| Some(r.octets_at_start as f64 / 1e6))),
    row("", "resident memory after the start", "MB", Source::Each(|r| Some(r.resident_start))),
    row("P15", "resident memory after all changes", "MB", Source::Each(|r| Some(r.resident_end))).at_most(90.0, 40.0),
    row("", "highest resident memory", "MB", Source::Each(|r| Some(r.resident_peak))),
    row("", "idle: CPU", "% of a core", Source::Each(|r| Some(r.idle_cpu))),
    row("P15", "idle: wake-ups", "a second", Source::Each(|r| Some(r.idle_wakeups))),
    row("", "change: API request to watch event on the node, p50", "ms", Source::Pooled(events, 0.5)),
    row("", "… p99", "ms", Source::Pooled(events, 0.99)),
    row("", "change: watch event to maps, p50", "ms", Source::Pooled(event_to_maps, 0.5)),
    row("P13", "… p99", "ms", Source::Pooled(event_to_maps, 0.99)).at_most(10.0, 1.0),
    row("P13", "change: a pass over maps or rules, finding the difference included", "µs", Source::Each(|r| r.pass_per_change)).at_most(50.0, 5.0),
    row("", "change: API request to maps, p50", "ms", Source::Pooled(written, 0.5)),
    row("", "… p99", "ms", Source::Pooled(written, 0.99)),
    row("", "change: watch event to first packet, p50", "ms", Source::Pooled(event_to_packet, 0.5)),
    row("", "… p99", "ms", Source::Pooled(event_to_packet, 0.99)),
    row("P16", "change: API request to first packet, p50", "ms", Source::Pooled(answered, 0.5)).at_most(40.0, 20.0),
    row("P16", "… p99", "ms", Source::Pooled(answered, 0.99)).at_most(80.0, 40.0),
    row("P16", "the same while others change, p50", "ms", Source::Pooled(|r| r.busy.clone(), 0.5)).at_most(40.0, 20.0),
    row("P16", "… p99", "ms", Source::Pooled(|r| r.busy.clone(), 0.99)).at_most(80.0, 40.0),
    row("P15", "CPU while others change", "% of a core", Source::Each(|r| Some(r.busy_cpu))).at_most(3.0, 0.5),
    row("", "sent by the API server for a change", "octets", Source::Each(|r| r.octets_per_change)),
    row("", "map entries written for a change", "", Source::Each(|r| r.writes_per_change.filter(|writes| *writes > 0.0))),
];

const fn row(goal_id: &'static str, what: &'static str, unit: &'static str, figure: Source) -> Row {
    Row {
        goal_id,
        what,
        unit,
        limits: None,
        figure,
    }
}

impl Row {
    const fn at_most(mut self, gate: f64, goal: f64) -> Row {
        self.limits = Some([gate, goal]);
        self
    }
}

fn of_changes(round: &Round, of: impl Fn(&Change) -> Option<f64>) -> Vec<f64> {
    round.changes.iter().filter_map(of).collect()
}

fn events(round: &Round) -> Vec<f64> {
    of_changes(round, |it| Some(it.event))
}

fn written(round: &Round) -> Vec<f64> {
    of_changes(round, |it| it.written)
}

fn answered(round: &Round) -> Vec<f64> {
    of_changes(round, |it| Some(it.answered))
}

fn event_to_maps(round: &Round) -> Vec<f64> {
    of_changes(round, |it| it.written.map(|at| at - it.event))
}

fn event_to_packet(round: &Round) -> Vec<f64> {
    of_changes(round, |it| Some(it.answered - it.event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_of_all_rounds_together_and_its_range_of_each() {
        let round = |answered: &[f64]| Round {
            changes: answered
                .iter()
                .map(|&answered| Change {
                    event: 0.0,
                    written: None,
                    answered,
                })
                .collect(),
            ..Round::default()
        };
        let rounds = [round(&[1.0, 2.0, 3.0]), round(&[10.0, 20.0])];
        let row = row("", "", "", Source::Pooled(answered, 0.5));
        assert_eq!(
            row.figure(&rounds),
            Some(Figure {
                value: 3.0,
                low: 2.0,
                high: 10.0
            })
        );
        assert_eq!(row.figure(&[]), None);
    }
}
