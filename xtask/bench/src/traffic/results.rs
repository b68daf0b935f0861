//! What was measured, as it goes into the JSON file, and the ratios that are read from it.

use serde::{Deserialize, Serialize};

use super::client::Sample;
use super::mode::{Asks, Mode, Place, Plane, Workload};
use super::profile::Profile;
use crate::control_plane::results::Version;
use crate::machine::Machine;
use crate::numbers::{median, range, short};

/// A run of the command.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub command: String,
    pub machine: Machine,
    pub versions: Vec<Version>,
    pub settings: Settings,
    /// Of the machine, before each round.
    pub load_averages: Vec<f64>,
    /// TCP segments that were sent again, of all pods and rounds together.
    pub retransmitted: u64,
    pub rows: Vec<Row>,
    /// Where the time of a request goes.
    #[serde(default)]
    pub profiles: Vec<Profile>,
}

/// How much was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settings {
    pub rounds: u32,
    pub milliseconds: u64,
    /// The processor of clients and servers.
    pub cpu: usize,
}

/// One mode at one place under one workload.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    #[serde(flatten)]
    pub mode: Mode,
    pub place: Place,
    pub workload: Workload,
    /// One for each round.
    pub samples: Vec<Sample>,
}

/// A ratio: the median of the rounds, with the lowest and the highest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Row {
    /// The figure of a sample that is compared: a transaction's time, or a stream's rate.
    fn figure(&self, sample: &Sample) -> f64 {
        sample.p50.unwrap_or(sample.rate)
    }

    /// This row divided by another, round by round.
    pub fn over(&self, other: &Row) -> Option<Ratio> {
        Ratio::of(self, other, |row, sample| row.figure(sample))
    }

    /// The processors' time for a transaction divided by that of another row, round by round.
    pub fn cpu_over(&self, other: &Row) -> Option<Ratio> {
        Ratio::of(self, other, |_, sample| sample.cpu)
    }
}

impl Ratio {
    fn of(one: &Row, other: &Row, figure: impl Fn(&Row, &Sample) -> f64) -> Option<Ratio> {
        let ratios: Vec<f64> = one
            .samples
            .iter()
            .zip(&other.samples)
            .map(|(sample, beside)| figure(one, sample) / figure(other, beside))
            .collect();
        let (low, high) = range(&ratios)?;
        Some(Ratio {
            value: median(&ratios)?,
            low,
            high,
        })
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { value, low, high } = self;
        write!(f, "{value:.2} ({low:.2}–{high:.2})")
    }
}

impl Results {
    /// The row of a mode.
    pub fn row(&self, mode: Mode, place: Place, workload: Workload) -> Option<&Row> {
        let is_it = |row: &&Row| (row.mode, row.place, row.workload) == (mode, place, workload);
        self.rows.iter().find(is_it)
    }

    /// The row without a load balancer.
    pub fn direct(&self, place: Place, workload: Workload) -> Option<&Row> {
        let is_it = |mode: &Mode| mode.plane == Plane::Direct;
        let mode = self.modes().into_iter().find(is_it)?;
        self.row(mode, place, workload)
    }

    /// The row of a data plane with the most Services that it was measured with, or with the fewest.
    pub fn extreme(
        &self,
        plane: Plane,
        asks: Asks,
        most: bool,
        place: Place,
        workload: Workload,
    ) -> Option<&Row> {
        let of = self.modes().into_iter();
        let mut of: Vec<Mode> = of
            .filter(|mode| (mode.plane, mode.asks) == (plane, asks))
            .collect();
        of.sort_by_key(|mode| mode.services);
        let mode = if most { of.last() } else { of.first() };
        self.row(*mode?, place, workload)
    }

    /// Every mode once, direct first.
    pub fn modes(&self) -> Vec<Mode> {
        let mut modes: Vec<Mode> = self.rows.iter().map(|row| row.mode).collect();
        modes.sort();
        modes.dedup();
        modes
    }

    /// The last round in a few words, for whoever waits: requests on one connection, divided by direct ones.
    pub fn last_round(&self) -> String {
        let last = |row: &Row| row.samples.last().map(|sample| row.figure(sample));
        let of = |mode: &Mode| -> Option<String> {
            let direct = last(self.direct(Place::Local, Workload::TcpRr)?)?;
            let own = last(self.row(*mode, Place::Local, Workload::TcpRr)?)?;
            Some(format!("{} {}", mode.name(), short(own / direct)))
        };
        let modes: Vec<String> = self.modes().iter().skip(1).filter_map(of).collect();
        modes.join("; ")
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Results of direct traffic and of one mode, with these times in microseconds, or rates of a stream, round by round.
    pub fn of(
        mode: Mode,
        place: Place,
        workload: Workload,
        direct: &[f64],
        own: &[f64],
    ) -> Results {
        let sample = |figure: &f64| Sample {
            p50: (workload != Workload::Stream).then_some(*figure),
            p99: None,
            rate: *figure,
            cpu: *figure,
        };
        let row = |mode, figures: &[f64]| Row {
            mode,
            place,
            workload,
            samples: figures.iter().map(sample).collect(),
        };
        let none = Mode {
            plane: Plane::Direct,
            asks: Asks::Pod,
            services: 0,
        };
        Results {
            command: String::new(),
            machine: Machine::unknown(),
            versions: vec![],
            settings: Settings {
                rounds: direct.len() as u32,
                milliseconds: 1,
                cpu: 0,
            },
            load_averages: vec![0.5],
            retransmitted: 0,
            rows: vec![row(none, direct), row(mode, own)],
            profiles: vec![],
        }
    }

    #[test]
    fn ratios_are_of_figures_of_one_round() {
        let mode = Mode {
            plane: Plane::Redirect,
            asks: Asks::Vip,
            services: 1,
        };
        // The machine was slow in the second round, for both.
        let results = of(
            mode,
            Place::Local,
            Workload::TcpRr,
            &[10.0, 40.0, 20.0],
            &[9.0, 32.0, 21.0],
        );
        let own = results.row(mode, Place::Local, Workload::TcpRr).unwrap();
        let direct = results.direct(Place::Local, Workload::TcpRr).unwrap();
        let expected = Ratio {
            value: 0.9,
            low: 0.8,
            high: 1.05,
        };
        assert_eq!(own.over(direct), Some(expected));
    }

    #[test]
    fn results_are_read_back_from_their_file() {
        let mode = Mode {
            plane: Plane::Stack,
            asks: Asks::Vip,
            services: 7,
        };
        let results = of(mode, Place::Remote, Workload::Stream, &[1.0], &[2.0]);
        let text = serde_json::to_string(&results).unwrap();
        let again: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(again.modes(), results.modes());
        assert_eq!(again.rows[1].samples, results.rows[1].samples);
    }
}
