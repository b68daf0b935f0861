//! Services, EndpointSlices and the own Node from the Kubernetes API: listed, watched, and listed anew where a watch lost
//! its place. An API that does not answer changes nothing: what was told stays as it was until it answers again.
//!
//! Writes nothing to the API and watches no other node.

#[cfg(test)]
mod tests;
mod watched;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::{core::v1, discovery};
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config};
use thiserror::Error;
use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use super::{Batch, SourceEvent};
use crate::causes::with_causes;
use crate::model::{EndpointSlice, Node, Service};
use watched::{ApiKind, Watched};

/// Services of other proxies (S-1).
const SERVICE_LABELS: &str = "!service.kubernetes.io/service-proxy-name";
/// Headless Services (S-1).
const SERVICE_FIELDS: &str = "spec.clusterIP!=None";
/// Slices of headless Services (S-1).
const SLICE_LABELS: &str = "!service.kubernetes.io/headless";
/// Longest silence on a connection; above the 295 s after which kube gives a silent watch up.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// Why there is no client of the API.
#[derive(Debug, Error)]
pub enum KubernetesError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {path}: {source}; correct the file or pass another one with --kubeconfig")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: kube::config::KubeconfigError,
    },
    /// There is neither a kubeconfig nor a service account.
    #[error("not in a pod with a service account: {0}; pass --kubeconfig FILE or --manifests DIR")]
    InCluster(#[from] kube::config::InClusterError),
    /// The configuration makes no client.
    #[error(
        "the configuration of the Kubernetes API makes no client: {0}; correct its addresses, certificates and credentials"
    )]
    Client(#[from] kube::Error),
}

/// A client of the API that `kubeconfig` names, or else of the cluster that this process is a pod of. Asks nothing of the
/// API yet.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, KubernetesError> {
    let mut config = match kubeconfig {
        Some(path) => from_file(path)
            .await
            .map_err(|source| KubernetesError::Kubeconfig {
                path: path.to_owned(),
                source,
            })?,
        None => Config::incluster()?,
    };
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(Client::try_from(config)?)
}

/// Tells `events` of everything that this node's proxy has to know, until nobody listens any more.
pub async fn run(client: Client, node_name: &str, events: Sender<Batch>) {
    let all = || watcher::Config::default().any_semantic();
    let service_filter = all().labels(SERVICE_LABELS).fields(SERVICE_FIELDS);
    let slice_filter = all().labels(SLICE_LABELS);
    let node_filter = all().fields(&format!("metadata.name={node_name}"));
    let mut services = watch::<v1::Service>(&client, service_filter);
    let mut slices = watch::<discovery::v1::EndpointSlice>(&client, slice_filter);
    let mut nodes = watch::<v1::Node>(&client, node_filter);

    let mut state = State::new(node_name);
    loop {
        let batch = tokio::select! {
            Some(event) = services.next() => state.service(event),
            Some(event) = slices.next() => state.slice(event),
            Some(event) = nodes.next() => state.node(event),
            () = events.closed() => return,
        };
        if !batch.is_empty() && events.send(batch).await.is_err() {
            return;
        }
    }
}

async fn from_file(path: &Path) -> Result<Config, kube::config::KubeconfigError> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}

type Watch<K> = std::pin::Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<K>>> + Send>>;

fn watch<K>(client: &Client, filter: watcher::Config) -> Watch<K>
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    watcher(Api::<K>::all(client.clone()), filter)
        .default_backoff()
        .boxed()
}

/// How the watch of the own Node stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NodeWatch {
    /// Nothing was heard yet.
    Unheard,
    /// It failed before there was a list. The Node is optional, so a missing permission must not hold the rest up.
    Failed,
    /// The Node was in the list.
    Listed,
    /// The list was empty.
    Absent,
}

impl NodeWatch {
    fn after(self, failed: bool, nodes: &Watched<Node>) -> Self {
        match self {
            Self::Listed | Self::Absent => self,
            _ if nodes.is_complete() && nodes.is_empty() => Self::Absent,
            _ if nodes.is_complete() => Self::Listed,
            _ if failed => Self::Failed,
            _ => self,
        }
    }

    /// What follows for endpoints, where anything does.
    fn consequence(self) -> Option<&'static str> {
        match self {
            Self::Unheard | Self::Listed => None,
            Self::Failed => Some(
                "the Node object cannot be listed: until it is, its zone is unknown, and endpoints count as local only if their \
                 nodeName is this name",
            ),
            Self::Absent => Some(
                "no Node object of this name: its zone is unknown, and endpoints count as local only if their nodeName is \
                 this name; pass the node's name with --node-name",
            ),
        }
    }
}

/// What the three watches have told, and whether that is everything.
struct State {
    node_name: String,
    services: Watched<Service>,
    slices: Watched<EndpointSlice>,
    nodes: Watched<Node>,
    node: NodeWatch,
    synced: bool,
}

impl State {
    fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            services: Watched::default(),
            slices: Watched::default(),
            nodes: Watched::default(),
            node: NodeWatch::Unheard,
            synced: false,
        }
    }

    fn service(&mut self, event: watcher::Result<watcher::Event<v1::Service>>) -> Batch {
        let batch = take(&mut self.services, event);
        self.with_synced(batch)
    }

    fn slice(
        &mut self,
        event: watcher::Result<watcher::Event<discovery::v1::EndpointSlice>>,
    ) -> Batch {
        let batch = take(&mut self.slices, event);
        self.with_synced(batch)
    }

    fn node(&mut self, event: watcher::Result<watcher::Event<v1::Node>>) -> Batch {
        let failed = event.is_err();
        let batch = take(&mut self.nodes, event);
        let before = self.node;
        self.node = before.after(failed, &self.nodes);
        if self.node != before
            && let Some(consequence) = self.node.consequence()
        {
            warn!(node = self.node_name, "{consequence}");
        }
        self.with_synced(batch)
    }

    /// Adds `Synced` to the batch that completes the first list of everything (S-8).
    fn with_synced(&mut self, mut batch: Batch) -> Batch {
        if !self.synced
            && self.services.is_complete()
            && self.slices.is_complete()
            && self.node != NodeWatch::Unheard
        {
            self.synced = true;
            batch.push(SourceEvent::Synced { complete: true });
        }
        batch
    }
}

fn take<T: ApiKind>(
    watched: &mut Watched<T>,
    event: watcher::Result<watcher::Event<T::Object>>,
) -> Batch {
    match event {
        Ok(event) => watched.apply(event),
        Err(watcher::Error::WatchError(status)) if status.code == 410 => {
            info!(
                kind = T::NAME,
                "the watch lost its place and starts with a new list"
            );
            Batch::new()
        }
        Err(error) => {
            warn!(
                kind = T::NAME,
                error = with_causes(&error),
                "the Kubernetes API cannot be watched: what was seen last stays in force, and the next attempt follows; see \
                 that the API is reachable without a Service VIP and that list and watch are permitted"
            );
            Batch::new()
        }
    }
}
