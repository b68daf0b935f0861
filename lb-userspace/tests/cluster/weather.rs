//! The watch in bad weather: the data plane goes on with what it knew, the agent says what is wrong, and makes up for it
//! without a burst of deletions once the weather is better.

mod clock;
mod connections;
mod outages;
mod refusals;
mod restarts;
mod unreadable;

use std::time::{Duration, Instant};

use anyhow::Result;
use cluster::weather::{Refusal, Requests, Verb};
use lab::{Pod, wait_until};

use crate::site::{PATIENCE, RECOVERY, Service, Site};

const SERVICES: &str = "services";
const SLICES: &str = "endpointslices";
const NODES: &str = "nodes";
const CIDRS: &str = "servicecidrs";
/// The same as metrics have them.
const KINDS: [&str; 4] = ["Service", "EndpointSlice", "Node", "ServiceCIDR"];

fn watches(resource: &str) -> Requests {
    Requests::of(resource).that(Verb::Watch)
}

fn lists(resource: &str) -> Requests {
    Requests::of(resource).that(Verb::List)
}

impl Site {
    /// Waits until the agent watches all that it watches.
    fn wait_until_watching(&self) -> Result<()> {
        wait_until("four open watches", RECOVERY, || {
            [SERVICES, SLICES, NODES, CIDRS]
                .iter()
                .all(|kind| self.weather.open_watches(&watches(kind)) == 1)
        })
    }

    /// Tells the agent on its watch of a kind that its place is forgotten, and waits until it has listed anew and watches.
    fn make_list_anew(&self, resource: &str) -> Result<()> {
        self.wait_until_watching()?;
        let before = self.weather.count(&lists(resource));
        let told = self
            .weather
            .inject(&watches(resource), &Refusal::gone().event());
        assert_eq!(told, 1, "watches of {resource}");
        wait_until("a new list", RECOVERY, || {
            self.weather.count(&lists(resource)) > before
        })?;
        self.wait_until_watching()
    }

    /// Waits until the metrics say of each kind that it is watched, or is not, and returns since when, in Unix time.
    fn wait_until_told(&self, is_watched: bool) -> Result<[f64; 4]> {
        let expected = f64::from(u8::from(is_watched));
        wait_until("the metrics to tell the watches", PATIENCE, || {
            KINDS.iter().all(|kind| {
                let metric = format!("lb_source_connected{{resource=\"{kind}\"}}");
                self.agent.metric(&metric).ok() == Some(expected)
            })
        })?;
        let mut since = [0.0; 4];
        for (since, kind) in since.iter_mut().zip(KINDS) {
            let metric = format!("lb_source_state_timestamp_seconds{{resource=\"{kind}\"}}");
            *since = self.agent.metric(&metric)?;
        }
        Ok(since)
    }

    /// How often lists and watches of a kind have failed in this way.
    fn errors(&self, kind: &str, failure: &str) -> Result<f64> {
        let metric = format!("lb_source_errors_total{{kind=\"{failure}\",resource=\"{kind}\"}}");
        self.agent.metric(&metric)
    }

    /// Holds that kubelet has no reason to restart the agent.
    #[track_caller]
    fn assert_live(&self) {
        let (code, body) = self.agent.probe("/livez").expect("an answer to the probe");
        assert_eq!(code, 200, "{body}");
    }

    /// Moves a Service to another pod and waits until the agent has followed, after bad weather.
    fn move_to(&self, service: &Service, pod: &Pod) -> Result<Duration> {
        self.objects.lead(service, &[pod])?;
        self.recovered(service, pod, Instant::now())
    }

    /// Waits until a Service leads to a pod, and holds that it does not take longer after `better` than it may.
    fn recovered(&self, service: &Service, pod: &Pod, better: Instant) -> Result<Duration> {
        self.wait_until_serves(service, &[pod], RECOVERY)?;
        let took = better.elapsed();
        assert!(took < RECOVERY, "{took:?}");
        println!("recovered {:.2} s after the weather", took.as_secs_f64());
        Ok(took)
    }
}
