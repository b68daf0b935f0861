//! Services, EndpointSlices and the own Node from the Kubernetes API: listed, watched, and listed anew where a watch lost
//! its place. An API that does not answer changes nothing: what was told stays as it was until it answers again, and so does
//! an object that can't be read.
//!
//! Writes nothing to the API and watches no other node.

mod backoff;
mod connect;
mod failure;
mod item;
mod reflector;
mod service_cidrs;
mod splitter;
#[cfg(test)]
mod tests;
mod watched;
mod wire;

use std::collections::HashMap;
use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc::Sender;
use tracing::{debug, info, warn};

use super::observed::{NodeState, Observed, Trigger};
use super::synced::Synced;
use super::{Batch, SourceEvent};
use crate::model::{EndpointSlice, Node, ObjectName, Service, ServiceCidr};
use failure::Failure;
use item::Item;
use reflector::{Event, Filter, reflect};
use watched::{ApiKind, Watched};

pub use connect::{ApiServer, KubernetesError, connect};

/// Headless Services (S-1).
const SERVICE_FIELDS: &str = "spec.clusterIP!=None";
/// Slices of headless Services (S-1).
const SLICE_LABELS: &str = "!service.kubernetes.io/headless";

/// Tells `events` of everything that this node's proxy has to know, until nobody listens any more. ServiceCIDRs are asked for
/// only `with_service_cidrs`.
pub async fn run(
    client: Client,
    node_name: &str,
    with_service_cidrs: bool,
    events: Sender<Batch>,
    observed: &Observed,
) {
    let labels = |labels: &str| Filter {
        labels: Some(labels.to_owned()),
        fields: None,
    };
    let fields = |fields: String| Filter {
        labels: None,
        fields: Some(fields),
    };
    // Those of other proxies (S-1) are listed too: their addresses are not free (S-30 d).
    let mut services = watch::<Service>(&client, fields(SERVICE_FIELDS.to_owned()));
    let mut slices = watch::<EndpointSlice>(&client, labels(SLICE_LABELS));
    let mut nodes = watch::<Node>(&client, fields(format!("metadata.name={node_name}")));

    let mut cidrs = match with_service_cidrs {
        true => watch::<ServiceCidr>(&client, Filter::default()),
        false => stream::pending().boxed(),
    };

    let mut state = State::new(node_name, observed);
    loop {
        let told = tokio::select! {
            Some(event) = services.next() => state.service(event),
            Some(event) = slices.next() => state.slice(event),
            Some(event) = nodes.next() => state.node(event),
            Some(event) = cidrs.next() => {
                if service_cidrs::is_missing(&event) {
                    cidrs = service_cidrs::look_again(&client);
                }
                state.service_cidr(event)
            }
            () = events.closed() => return,
        };
        if told.batch.is_empty() {
            continue;
        }
        observed.telling(told.triggers);
        if events.send(told.batch).await.is_err() {
            return;
        }
    }
}

type Watch<T> = Pin<Box<dyn Stream<Item = Event<T>> + Send>>;

fn watch<T: ApiKind>(client: &Client, filter: Filter) -> Watch<T> {
    reflect(client.clone(), filter).boxed()
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

/// What one event comes to.
#[derive(Default, Debug)]
struct Told {
    batch: Batch,
    /// When what it says was caused.
    triggers: Vec<Trigger>,
}

/// What the watches have told, and whether that is everything.
struct State<'a> {
    node_name: String,
    services: Watched<Service>,
    slices: Watched<EndpointSlice>,
    nodes: Watched<Node>,
    node: NodeWatch,
    service_cidrs: Watched<ServiceCidr>,
    /// Their ranges were told, or that there are none to be known.
    service_cidrs_known: bool,
    /// Whether everything was told, and what of it can't be read.
    synced: Synced,
    /// What each kind fails with at present.
    failing: HashMap<&'static str, &'static str>,
    observed: &'a Observed,
    started: Timestamp,
}

impl<'a> State<'a> {
    fn new(node_name: &str, observed: &'a Observed) -> Self {
        for kind in [kind::<Service>(), kind::<EndpointSlice>(), kind::<Node>()] {
            observed.expect(kind);
        }
        observed.set_node(NodeState::Absent);
        Self {
            node_name: node_name.to_owned(),
            services: Watched::default(),
            slices: Watched::default(),
            nodes: Watched::default(),
            node: NodeWatch::Unheard,
            service_cidrs: Watched::default(),
            service_cidrs_known: false,
            synced: Synced::default(),
            failing: HashMap::new(),
            observed,
            started: Timestamp::now(),
        }
    }

    fn service(&mut self, event: Event<Service>) -> Told {
        let batch = take(&mut self.services, event, self.observed, &mut self.failing);
        self.told(batch, &HashMap::new())
    }

    fn slice(&mut self, event: Event<EndpointSlice>) -> Told {
        let causes = match &event {
            Event::List(items) => items.iter().filter_map(|item| self.cause(item)).collect(),
            Event::Put(item) => self.cause(item).into_iter().collect(),
            Event::Delete(_) | Event::Connected | Event::Failed(_) => HashMap::new(),
        };
        let batch = take(&mut self.slices, event, self.observed, &mut self.failing);
        self.told(batch, &causes)
    }

    fn node(&mut self, event: Event<Node>) -> Told {
        match &event {
            Event::List(nodes) if nodes.is_empty() => self.observed.set_node(NodeState::Absent),
            Event::Delete(_) => self.observed.set_node(NodeState::Absent),
            Event::List(nodes) => nodes.iter().for_each(|node| self.see_node(node)),
            Event::Put(node) => self.see_node(node),
            Event::Connected | Event::Failed(_) => {}
        }
        let failed = matches!(event, Event::Failed(_));
        let batch = take(&mut self.nodes, event, self.observed, &mut self.failing);
        let before = self.node;
        self.node = before.after(failed, &self.nodes);
        if self.node != before
            && let Some(consequence) = self.node.consequence()
        {
            warn!(node = self.node_name, "{consequence}");
        }
        self.told(batch, &HashMap::new())
    }

    /// A Node that can't be read leaves the verdict as it was.
    fn see_node(&self, node: &Item<Node>) {
        if let Ok(node) = &node.object {
            self.observed.set_node(node.aside);
        }
    }

    /// When a slice's last change was caused, unless that was before this process began.
    fn cause(&self, item: &Item<EndpointSlice>) -> Option<(ObjectName, Timestamp)> {
        let at = item.object.as_ref().ok()?.aside?;
        (at >= self.started).then(|| (item.name.clone(), at))
    }

    /// Adds `Synced` to the batch that completes the first list of everything (S-8), and what caused the changes of slices.
    /// An object that could never be read is told of with it.
    fn told(&mut self, mut batch: Batch, causes: &HashMap<ObjectName, Timestamp>) -> Told {
        let trigger = |event: &SourceEvent| match event {
            SourceEvent::EndpointSlice(name, Some(slice)) => causes.get(name).map(|at| Trigger {
                family: slice.family,
                at: *at,
            }),
            _ => None,
        };
        let triggers = batch.iter().filter_map(trigger).collect();
        if self.services.is_complete()
            && self.slices.is_complete()
            && self.node != NodeWatch::Unheard
        {
            let mut unread = self.services.unread();
            unread.extend(self.slices.unread());
            batch.extend(self.synced.tell(unread));
        }
        Told { batch, triggers }
    }
}

fn kind<T: ApiKind>() -> &'static str {
    T::NAME
}

/// Takes an event in and notes how the watch stands. A failure is told once, until another one or a success follows.
fn take<T: ApiKind>(
    watched: &mut Watched<T>,
    event: Event<T>,
    observed: &Observed,
    failing: &mut HashMap<&'static str, &'static str>,
) -> Batch {
    let kind = T::NAME;
    match event {
        Event::List(items) => {
            let again = watched.is_complete();
            let batch = watched.list(items);
            observed.listed(kind, again, watched.rejected());
            if again {
                info!(kind, changes = batch.len(), "listed anew");
            }
            batch
        }
        Event::Put(item) => {
            let batch = watched.put(item);
            observed.set_rejected(kind, watched.rejected());
            batch
        }
        Event::Delete(item) => {
            let batch = watched.delete(item);
            observed.set_rejected(kind, watched.rejected());
            batch
        }
        Event::Connected => {
            let silence = observed.connected(kind);
            if failing.remove(kind).is_some() {
                let seconds = silence.map_or(0, |silence| silence.as_secs());
                info!(kind, seconds, "the Kubernetes API is watched again");
            }
            Batch::new()
        }
        Event::Failed(failure) => {
            observed.failed(kind, failure.kind);
            if failing.insert(kind, failure.kind) == Some(failure.kind) {
                debug!(kind, error = failure.message, "still not watched");
            } else {
                report(kind, &failure);
            }
            Batch::new()
        }
    }
}

fn report(kind: &'static str, failure: &Failure) {
    let error = &failure.message;
    if failure.spoils_version() {
        info!(
            kind,
            error, "the watch lost its place and starts with a new list"
        );
    } else {
        warn!(
            kind,
            error,
            "the Kubernetes API cannot be watched: what was seen last stays in force, and it is tried again; see that the API \
             is reachable without a Service VIP and that list and watch are permitted"
        );
    }
}
