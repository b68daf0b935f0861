//! What the agent tells about its own work while it works: to probes and scrapes. Has no part in the work.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::http::{Health, Metrics};
use crate::model::{Family, ObjectName};
use crate::reconciler::Outcome;
use crate::resolve::ResolvedPort;
use crate::source::{Observed, SourceEvent};

/// Where it is told.
pub(super) struct Report {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    observed: Arc<Observed>,
    /// Service ports of each Service and family that want endpoints of this node and have none, where there are any.
    no_local: HashMap<ObjectName, [usize; 2]>,
}

impl Report {
    pub(super) fn new(health: Arc<Health>, metrics: Arc<Metrics>, observed: Arc<Observed>) -> Self {
        Self {
            health,
            metrics,
            observed,
            no_local: HashMap::new(),
        }
    }

    /// The source told of a change.
    pub(super) fn told(&self, event: &SourceEvent) {
        match event {
            SourceEvent::Service(..) => self.metrics.service_changed(),
            SourceEvent::EndpointSlice(..) => self.metrics.slice_changed(),
            SourceEvent::Node(_)
            | SourceEvent::ServiceCidr(..)
            | SourceEvent::ServiceCidrsKnown
            | SourceEvent::Synced(_)
            | SourceEvent::Problems { .. } => {}
        }
    }

    /// A batch was taken in, and is to be written as soon as the sources are complete.
    pub(super) fn taken_in(&self, is_synced: bool) {
        self.observed.taken_in();
        if is_synced {
            self.health.queued(Instant::now());
            self.metrics.queued(Timestamp::now());
        }
    }

    /// A Service is now resolved to this.
    pub(super) fn resolved(&mut self, service: &ObjectName, ports: &[ResolvedPort]) {
        let count = without_local(ports);
        if count == [0, 0] {
            self.no_local.remove(service);
        } else {
            self.no_local.insert(service.clone(), count);
        }
    }

    /// A pass over what differs has come to this.
    pub(super) fn written(&self, outcome: &Outcome, took: Duration) {
        self.metrics.wrote(took, outcome.changed);
        self.metrics.set_problems(outcome.problems.len());
        let sum = |family: usize| self.no_local.values().map(|count| count[family]).sum();
        self.metrics.set_no_local([sum(0), sum(1)]);
        if outcome.failed == 0 {
            let now = Timestamp::now();
            self.health.updated(now);
            self.metrics.up_to_date(now, &self.observed.written());
        }
    }
}

/// How many ports of a Service send packets to endpoints of this node alone and have none, by family.
fn without_local(ports: &[ResolvedPort]) -> [usize; 2] {
    [Family::V4, Family::V6].map(|family| {
        let is_without = |port: &&ResolvedPort| {
            port.internal_local
                && port.has_endpoints[family as usize]
                && !port
                    .endpoints
                    .iter()
                    .any(|endpoint| endpoint.local && Family::of(&endpoint.address.ip()) == family)
        };
        ports.iter().filter(is_without).count()
    })
}

#[cfg(test)]
mod tests {
    use lb_common::addr::Protocol;

    use super::*;
    use crate::model::ServicePortName;
    use crate::resolve::{EndpointState, ResolvedEndpoint};

    #[test]
    fn s_23_ports_with_the_policy_local_and_endpoints_elsewhere_alone_are_counted_by_family() {
        let port = |internal_local: bool, endpoints: &[(&str, bool)]| {
            let endpoints: Vec<_> = endpoints
                .iter()
                .map(|(address, local)| ResolvedEndpoint {
                    address: address.parse().expect("an address"),
                    state: EndpointState::Active,
                    cluster: !internal_local,
                    local: *local,
                })
                .collect();
            let has = |family| {
                endpoints
                    .iter()
                    .any(|endpoint| Family::of(&endpoint.address.ip()) == family)
            };
            ResolvedPort {
                name: ServicePortName {
                    service: ObjectName::new("shop", "cart"),
                    port_name: "".into(),
                    protocol: Protocol::Tcp,
                },
                created: 0,
                frontends: Vec::new(),
                internal_local,
                has_endpoints: [has(Family::V4), has(Family::V6)],
                affinity_seconds: 0,
                endpoints,
            }
        };
        let (v4, v6) = ("10.0.0.1:80", "[fd00::1]:80");
        for (port, expected) in [
            (port(true, &[]), [0, 0]),
            (port(true, &[(v4, false)]), [1, 0]),
            (port(true, &[(v4, true), (v6, false)]), [0, 1]),
            (port(true, &[(v4, false), (v6, false)]), [1, 1]),
            (port(false, &[(v4, false)]), [0, 0]),
        ] {
            assert_eq!(
                without_local(std::slice::from_ref(&port)),
                expected,
                "{port:?}"
            );
        }
    }
}
