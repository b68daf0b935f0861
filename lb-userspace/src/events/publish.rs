//! Sends Events to the API one after the other, no faster than a cluster with many nodes can bear.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::core::NamespaceResourceScope;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::{Note, Regarding};
use crate::causes::{refusal, with_causes};
use crate::http::Metrics;
use crate::model::ObjectName;

/// What Events say they come from.
const CONTROLLER: &str = "lb";
/// Events that may be sent at once.
const BURST: u32 = 20;
/// After that, one in this time.
const EVERY: Duration = Duration::from_secs(5);
/// How long the API may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to the API.
pub(super) struct Publisher {
    client: Client,
    node_name: String,
    metrics: Arc<Metrics>,
    failing: bool,
}

impl Publisher {
    pub(super) fn new(client: Client, node_name: &str, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            node_name: node_name.to_owned(),
            metrics,
            failing: false,
        }
    }

    /// Sends what is handed in, until nobody can hand in any more.
    pub(super) async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        // Where the burst would be used up if it were sent at a steady pace.
        let mut debt = Instant::now();
        while let Some(note) = notes.recv().await {
            debt = debt.max(Instant::now()) + EVERY;
            sleep_until(debt - EVERY * BURST).await;
            let result = match timeout(PATIENCE, self.publish(&note)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(kube::Error::Api(status))) => Err(refusal(&status)),
                Ok(Err(error)) => Err(with_causes(&error)),
                Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            self.tell(result);
        }
    }

    fn tell(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.failing = false;
                self.metrics.event("sent");
            }
            Err(error) => {
                self.metrics.event("failed");
                if self.failing {
                    debug!(error, "an Event was not taken");
                } else {
                    warn!(
                        error,
                        "the API takes no Events, so what they say is in this log alone; permit this agent to create them"
                    );
                }
                self.failing = true;
            }
        }
    }

    async fn publish(&self, note: &Note) -> Result<(), kube::Error> {
        let reference = match &note.regarding {
            Regarding::Node => self.node(),
            Regarding::Service(name) => self.object::<Service>(name).await?,
            Regarding::EndpointSlice(name) => self.object::<EndpointSlice>(name).await?,
        };
        let reporter = Reporter {
            controller: CONTROLLER.into(),
            instance: Some(self.node_name.clone()),
        };
        // A recorder that has sent an Event patches it when the like happens again, which takes another permission.
        let recorder = Recorder::new(self.client.clone(), reporter);
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.into(),
            note: Some(note.text.clone()),
            action: note.action.into(),
            secondary: None,
        };
        recorder.publish(&event, &reference).await
    }

    /// Tools look for a node's Events by its name in place of its UID.
    fn node(&self) -> ObjectReference {
        ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node_name.clone()),
            uid: Some(self.node_name.clone()),
            ..ObjectReference::default()
        }
    }

    /// The object with its UID, by which tools look for its Events.
    async fn object<K>(&self, name: &ObjectName) -> Result<ObjectReference, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &name.namespace);
        let found = api.get_metadata_opt(&name.name).await?;
        Ok(ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            namespace: Some(name.namespace.to_string()),
            name: Some(name.name.to_string()),
            uid: found.and_then(|found| found.metadata.uid),
            ..ObjectReference::default()
        })
    }
}
