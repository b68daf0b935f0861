//! The watch of ServiceCIDRs, which are optional: an API server before Kubernetes 1.33 has none, and a role of an earlier version of
//! this program does not permit to ask for them. Neither is anything that the rest waits for.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::Client;
use tokio::time::sleep;
use tracing::{info, warn};

use super::reflector::{Event, Filter, reflect};
use super::{State, Told, Watch, kind, take};
use crate::model::{ServiceCidr, SourceEvent};

/// After how long an API server that has none is asked again: it may have been replaced by a newer one.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Whether an event says that the API server has no such objects.
pub(super) fn is_missing(event: &Event<ServiceCidr>) -> bool {
    matches!(event, Event::Failed(failure) if failure.is_missing())
}

/// A watch that begins later.
pub(super) fn look_again(client: &Client) -> Watch<ServiceCidr> {
    let client = client.clone();
    stream::once(sleep(LOOK_AGAIN))
        .flat_map(move |()| reflect(client.clone(), Filter::default()))
        .boxed()
}

impl State<'_> {
    pub(super) fn service_cidr(&mut self, event: Event<ServiceCidr>) -> Told {
        let was_complete = self.service_cidrs.is_complete();
        if is_missing(&event) && !was_complete {
            if !self.service_cidrs_known {
                info!(
                    "the API has no ServiceCIDRs (Kubernetes 1.33 does), so packets to addresses that no Service has pass; name the \
                     Service CIDRs with --service-cidr to have them dropped"
                );
            }
            return self.with_ranges_known(Vec::new());
        }
        let kind = kind::<ServiceCidr>();
        let mut is_settled = false;
        if let Event::Failed(failure) = &event
            && failure.is_forbidden()
            && !was_complete
        {
            is_settled = true;
            if !self.service_cidrs_known {
                // Said here, for it is no reason to look at anything else.
                self.failing.insert(kind, failure.kind);
                warn!(
                    error = failure.message,
                    "ServiceCIDRs may not be listed, so packets to addresses that no Service has pass; permit list and watch of \
                     servicecidrs in networking.k8s.io, or name the Service CIDRs with --service-cidr"
                );
            }
        }
        let batch = take(
            &mut self.service_cidrs,
            event,
            self.observed,
            &mut self.failing,
        );
        if is_settled || self.service_cidrs.is_complete() {
            self.with_ranges_known(batch)
        } else {
            self.told(batch, &HashMap::new())
        }
    }

    /// Adds that the ranges are known, the first time.
    fn with_ranges_known(&mut self, mut batch: Vec<SourceEvent>) -> Told {
        if !std::mem::replace(&mut self.service_cidrs_known, true) {
            batch.push(SourceEvent::ServiceCidrsKnown);
        }
        self.told(batch, &HashMap::new())
    }
}
