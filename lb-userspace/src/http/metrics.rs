//! The metrics: those of kube-proxy by their own names, so that its dashboards and alerts go on working, and ours. What is not
//! true of this data plane is not there. `docs/metrics.md` lists them.

mod define;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lb_common::reason::Reason;
use lb_common::redirect::RedirectState;
use prometheus::{
    GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};
use tracing::warn;

use super::health::Question;
use super::scrape::DataPlane;
use crate::model::Family;
use crate::source::observed::Trigger;
use define::Definitions;

const FAMILIES: [(Family, &str); 2] = [(Family::V4, "IPv4"), (Family::V6, "IPv6")];

/// All metrics of an agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    sync: SyncMetrics,
    healthz: IntCounterVec,
    livez: IntCounterVec,
    problems: IntGauge,
    events: IntCounterVec,
    scraped: Mutex<Scraped>,
}

/// What the pipeline keeps up to date.
#[derive(Debug)]
struct SyncMetrics {
    duration: HistogramVec,
    last: GaugeVec,
    last_queued: GaugeVec,
    programming: HistogramVec,
    slices_pending: IntGauge,
    slices_total: IntCounter,
    services_pending: IntGauge,
    services_total: IntCounter,
    no_local: IntGaugeVec,
    writes: IntCounter,
}

/// What is set anew for each scrape.
#[derive(Debug)]
struct Scraped {
    decisions: IntCounterVec,
    entries: IntGaugeVec,
    max_entries: IntGaugeVec,
    displaced: IntGaugeVec,
    devices: IntGaugeVec,
    redirect: IntGaugeVec,
    local_pods: IntGauge,
    remote_prefixes: IntGauge,
    uplinks: IntGauge,
    connected: IntGaugeVec,
    since: GaugeVec,
    relists: IntCounterVec,
    errors: IntCounterVec,
    rejected: IntGaugeVec,
    /// A scrape that cannot read the maps is told once.
    broken: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        define::metrics(&Definitions::default())
    }
}

impl Metrics {
    /// A Service was told of that is not written yet.
    pub fn service_changed(&self) {
        self.sync.services_total.inc();
        self.sync.services_pending.inc();
    }

    /// An EndpointSlice was told of that is not written yet.
    pub fn slice_changed(&self) {
        self.sync.slices_total.inc();
        self.sync.slices_pending.inc();
    }

    /// There is something to write.
    pub fn queued(&self, at: Timestamp) {
        set_time(&self.sync.last_queued, at);
    }

    /// A pass over what differs took so long. It is one for both families.
    pub fn wrote(&self, took: Duration, writes: usize) {
        for (_, family) in FAMILIES {
            let duration = self.sync.duration.with_label_values(&[family]);
            duration.observe(took.as_secs_f64());
        }
        self.sync.writes.inc_by(writes as u64);
    }

    /// Everything that was told of is written, and `causes` with it.
    pub fn up_to_date(&self, at: Timestamp, causes: &[Trigger]) {
        set_time(&self.sync.last, at);
        self.sync.services_pending.set(0);
        self.sync.slices_pending.set(0);
        for cause in causes {
            // Two clocks are compared, which may disagree.
            let seconds = at.duration_since(cause.at).as_secs_f64().max(0.0);
            let family = &FAMILIES[cause.family as usize].1;
            let histogram = self.sync.programming.with_label_values(&[family]);
            histogram.observe(seconds);
        }
    }

    /// So many service ports of each family want endpoints of this node alone and have none.
    pub fn set_no_local(&self, ports: [usize; 2]) {
        for (family, name) in FAMILIES {
            let gauge = self.sync.no_local.with_label_values(&["internal", name]);
            gauge.set(ports[family as usize] as i64);
        }
    }

    /// So many problems keep Services from being served as they were asked for.
    pub fn set_problems(&self, problems: usize) {
        self.problems.set(problems as i64);
    }

    /// What became of an Event: `sent`, `failed` or `dropped`.
    pub fn event(&self, outcome: &str) {
        self.events.with_label_values(&[outcome]).inc();
    }

    /// A probe was answered. Those are counted that kube-proxy knows: an alert on its numbers is not to fire because an agent starts.
    pub(super) fn probed(&self, question: Question, code: u16) {
        let counter = match question {
            Question::Live => &self.livez,
            Question::Healthy => &self.healthz,
            Question::Written => return,
        };
        counter.with_label_values(&[&code.to_string()]).inc();
    }

    /// The text that Prometheus reads. Takes as long as reading the maps does.
    pub(super) fn text(&self, data_plane: &DataPlane) -> String {
        let mut scraped = self.scraped.lock().unwrap_or_else(PoisonError::into_inner);
        scraped.refresh(data_plane);
        let families = self.registry.gather();
        drop(scraped);
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_else(|error| {
                warn!(%error, "the metrics can't be written as text");
                String::new()
            })
    }
}

impl Scraped {
    fn refresh(&mut self, data_plane: &DataPlane) {
        match data_plane.read_maps() {
            Ok((counters, fill)) => {
                self.broken = false;
                self.decisions.reset();
                let counts = counters.into_iter().chain(std::iter::repeat(0));
                for (reason, count) in Reason::ALL.iter().zip(counts) {
                    let counter = self.decisions.with_label_values(&[reason.name()]);
                    counter.inc_by(count);
                }
                for map in fill {
                    let set = |gauge: &IntGaugeVec, value: u64| {
                        gauge.with_label_values(&[map.map]).set(value as i64);
                    };
                    set(&self.entries, map.used);
                    set(&self.max_entries, map.max);
                    if let Some(displaced) = map.displaced {
                        set(&self.displaced, displaced);
                    }
                }
            }
            Err(error) if !self.broken => {
                self.broken = true;
                warn!(%error, "the maps can't be read for the metrics");
            }
            Err(_) => {}
        }
        let devices = data_plane.devices();
        for (state, count) in [
            ("attached", devices.attached),
            ("pending", devices.pending),
            ("failed", devices.failed),
        ] {
            self.devices.with_label_values(&[state]).set(count as i64);
        }
        let redirect = data_plane.redirect();
        for state in RedirectState::ALL {
            let is_it = i64::from(state == redirect.state);
            self.redirect.with_label_values(&[state.label()]).set(is_it);
        }
        self.local_pods.set(redirect.pods as i64);
        self.remote_prefixes.set(redirect.prefixes as i64);
        self.uplinks.set(redirect.uplinks as i64);
        self.refresh_watches(data_plane);
    }

    fn refresh_watches(&self, data_plane: &DataPlane) {
        self.relists.reset();
        self.errors.reset();
        let (now, at) = (Instant::now(), Timestamp::now());
        for (kind, watch) in data_plane.observed().watches() {
            let connected = i64::from(watch.connected);
            self.connected.with_label_values(&[kind]).set(connected);
            let ago = now.saturating_duration_since(watch.since);
            self.since
                .with_label_values(&[kind])
                .set(seconds(at) - ago.as_secs_f64());
            self.relists
                .with_label_values(&[kind])
                .inc_by(watch.relists);
            for (error, count) in watch.errors {
                self.errors.with_label_values(&[kind, error]).inc_by(count);
            }
            let rejected = watch.rejected as i64;
            self.rejected.with_label_values(&[kind]).set(rejected);
        }
    }
}

fn set_time(gauge: &GaugeVec, at: Timestamp) {
    for (_, family) in FAMILIES {
        gauge.with_label_values(&[family]).set(seconds(at));
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1_000.0
}
