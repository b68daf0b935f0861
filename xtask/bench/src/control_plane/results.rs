//! What was measured, as it goes into the JSON file. Times in the unit that the field's words name.

use serde::{Deserialize, Serialize};

use super::Options;
use super::proxy::Kind;
use crate::machine::Machine;
use crate::numbers::{percentile, short};

/// A run of the command.
#[derive(Debug, Serialize)]
pub struct Results {
    pub command: String,
    pub machine: Machine,
    pub versions: Vec<Version>,
    pub settings: Settings,
    pub sizes: Vec<Size>,
}

/// A program that took part.
#[derive(Debug, Serialize, Deserialize)]
pub struct Version {
    pub program: String,
    pub version: String,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub struct Settings {
    pub rounds: u32,
    pub changes: u32,
    pub churn: u32,
    pub churn_seconds: u32,
    pub idle_seconds: u32,
}

/// All rounds with one number of Services.
#[derive(Debug, Serialize, Deserialize)]
pub struct Size {
    pub services: u32,
    pub proxies: Vec<Measured>,
}

/// All rounds of one data plane.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub kind: Kind,
    pub rounds: Vec<Round>,
}

/// One start of one data plane.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Round {
    /// Of the machine, before it.
    pub load_average: f64,
    /// From the process's start to the first answer through it, in seconds.
    pub cold_start: f64,
    /// From the process's start until everything was in the maps, in seconds.
    pub written: Option<f64>,
    /// From the lists' last octet until everything was in the maps (kube-proxy: to the first answer), in milliseconds.
    pub list_to_programmed: Option<f64>,
    /// The passes over maps or rules of the start, in milliseconds together.
    pub pass_at_start: f64,
    /// Until the first answer, in seconds of one processor.
    pub cpu_first_answer: f64,
    /// Until it had settled, in seconds of one processor.
    pub cpu_start: f64,
    /// What the API server sent until it had settled.
    pub octets_at_start: u64,
    /// Resident memory when it had settled, in megabytes.
    pub resident_start: f64,
    /// The part of it that is neither file nor map.
    pub anonymous_start: f64,
    /// Highest resident memory, in megabytes.
    pub resident_peak: f64,
    /// Resident memory at the end, in megabytes.
    pub resident_end: f64,
    /// Percent of one processor while nothing changes.
    pub idle_cpu: f64,
    /// Wake-ups a second while nothing changes.
    pub idle_wakeups: f64,
    /// Changes while nothing else changes.
    pub changes: Vec<Change>,
    /// Passes over maps or rules for each of them.
    pub passes_per_change: Option<f64>,
    /// How long each pass took, in microseconds.
    pub pass_per_change: Option<f64>,
    /// Map entries written for each of them.
    pub writes_per_change: Option<f64>,
    /// What the API server sent for each of them.
    pub octets_per_change: Option<f64>,
    /// Until the first answer by the new backend while other endpoints change, in milliseconds.
    pub busy: Vec<f64>,
    /// How many other endpoints were changed meanwhile.
    pub churned: u64,
    /// Percent of one processor meanwhile.
    pub busy_cpu: f64,
}

/// One endpoint is changed at the API; milliseconds since the request was sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Change {
    /// The watch event reached the node.
    pub event: f64,
    /// It was in the maps.
    pub written: Option<f64>,
    /// The new backend had answered.
    pub answered: f64,
}

impl Settings {
    /// Those of the command line.
    pub fn of(options: &Options) -> Settings {
        Settings {
            rounds: options.rounds,
            changes: options.changes,
            churn: options.churn,
            churn_seconds: options.churn_seconds,
            idle_seconds: options.idle_seconds,
        }
    }
}

impl Size {
    /// Without rounds.
    pub fn new(services: u32) -> Size {
        Size {
            services,
            proxies: Vec::new(),
        }
    }

    /// Adds a round.
    pub fn add(&mut self, kind: Kind, round: Round) {
        match self.proxies.iter_mut().find(|it| it.kind == kind) {
            Some(measured) => measured.rounds.push(round),
            None => self.proxies.push(Measured {
                kind,
                rounds: vec![round],
            }),
        }
    }
}

impl Round {
    /// In a few words, for whoever waits.
    pub fn summary(&self) -> String {
        let middle = |samples: &[f64]| percentile(samples, 0.5).map_or("-".to_owned(), short);
        let answered: Vec<f64> = self.changes.iter().map(|it| it.answered).collect();
        format!(
            "start {} s, change {} ms, busy {} ms, {} MB, {} % when busy",
            short(self.cold_start),
            middle(&answered),
            middle(&self.busy),
            short(self.resident_end),
            short(self.busy_cpu),
        )
    }
}
