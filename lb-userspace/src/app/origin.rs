//! Where the cluster's objects come from, found and not asked yet: a directory, or an API server, which takes Events too.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use kube::Client;
use tokio::sync::mpsc;

use super::Source;
use crate::events::Events;
use crate::http::Metrics;
use crate::source::observed::NodeState;
use crate::source::{Batch, Observed, kubernetes, manifests};

/// A source that has been found.
pub(super) enum Origin {
    Manifests(PathBuf),
    Kubernetes(Client),
}

impl Origin {
    pub(super) async fn connect(source: &Source) -> Result<Self> {
        Ok(match source {
            Source::Manifests(directory) => Self::Manifests(directory.clone()),
            Source::Kubernetes(server) => Self::Kubernetes(kubernetes::connect(server).await?),
        })
    }

    /// What is known before it was asked. A probe may have waited for the first answer while the programs were loaded: a node
    /// of which nothing was heard is none to send traffic to (S-61).
    pub(super) fn observed(&self) -> Observed {
        let observed = Observed::default();
        match self {
            Self::Manifests(_) => {}
            Self::Kubernetes(_) => observed.set_node(NodeState::Absent),
        }
        observed
    }

    /// Where Events about its objects go.
    pub(super) fn events(&self, node_name: &str, metrics: Arc<Metrics>) -> Events {
        match self {
            Self::Manifests(_) => Events::nowhere(),
            Self::Kubernetes(client) => Events::to(client.clone(), node_name, metrics),
        }
    }

    /// Tells of the objects as long as somebody listens. An API is not asked for ServiceCIDRs that nobody needs.
    pub(super) async fn tell(
        self,
        node_name: &str,
        with_service_cidrs: bool,
        batches: mpsc::Sender<Batch>,
        observed: &Observed,
    ) -> Result<()> {
        match self {
            Self::Manifests(directory) => manifests::run(&directory, node_name, batches).await?,
            Self::Kubernetes(client) => {
                kubernetes::run(client, node_name, with_service_cidrs, batches, observed).await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn s_61_a_node_that_the_api_has_not_told_of_yet_is_none_to_send_traffic_to() {
        let silent = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, std::convert::Infallible>>()
        });
        let origin = Origin::Kubernetes(Client::new(silent, "default"));
        assert_eq!(origin.observed().node(), NodeState::Absent);
        let origin = Origin::Manifests(PathBuf::new());
        assert_eq!(origin.observed().node(), NodeState::Eligible);
    }
}
