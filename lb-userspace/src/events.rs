//! Events for the people who look at the cluster with kubectl: what the agent has to say about its node and about Services
//! (S-64). Nobody waits for them: what can't be sent in time is dropped and counted, and an API that refuses them is told of
//! once. Each is an object of its own, so that the permission to create is enough.

mod publish;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kube::Client;
use tokio::sync::mpsc;

use crate::http::Metrics;
use crate::model::ObjectName;
use publish::Publisher;

/// Events that may wait to be sent.
const WAITING: usize = 64;
/// Longest note that the API takes, in octets.
const LONGEST_NOTE: usize = 1024;

/// What an Event is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Regarding {
    /// The node that the agent runs on.
    Node,
    /// A Service.
    Service(ObjectName),
    /// An EndpointSlice.
    EndpointSlice(ObjectName),
}

impl Regarding {
    /// The object that a source means by these words, as in `Service shop/cart`. None for a file of manifests.
    pub fn named(words: &str) -> Option<Self> {
        let (kind, name) = words.split_once(' ')?;
        let (namespace, name) = name.split_once('/')?;
        let name = ObjectName::new(namespace, name);
        match kind {
            "Service" => Some(Self::Service(name)),
            "EndpointSlice" => Some(Self::EndpointSlice(name)),
            _ => None,
        }
    }
}

/// An Event.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Note {
    regarding: Regarding,
    warning: bool,
    reason: &'static str,
    action: &'static str,
    text: String,
}

/// Where Events are handed in. Clones hand in at the same place.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Option<mpsc::Sender<Note>>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// For an agent without an API: nothing comes of its Events.
    pub fn nowhere() -> Self {
        Self {
            sender: None,
            metrics: Arc::default(),
        }
    }

    /// To the API, about this node. Must be called in the runtime that is to send them.
    pub fn to(client: Client, node_name: &str, metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let publisher = Publisher::new(client, node_name, metrics.clone());
        tokio::spawn(publisher.run(receiver));
        Self {
            sender: Some(sender),
            metrics,
        }
    }

    /// The agent starts.
    pub fn starting(&self) {
        self.hand_in(Note {
            regarding: Regarding::Node,
            warning: false,
            reason: "Starting",
            action: "StartServiceProxy",
            text: format!("lb {} serves the Services", env!("CARGO_PKG_VERSION")),
        });
    }

    /// Something is wrong with the agent.
    pub fn of_node(&self, reason: &'static str, action: &'static str, text: &str) {
        self.warn(Regarding::Node, reason, action, text);
    }

    /// Something is wrong with an object of the API.
    pub fn of_object(&self, regarding: Regarding, reason: &'static str, text: &str) {
        self.warn(regarding, reason, "ProgramService", text);
    }

    fn warn(&self, regarding: Regarding, reason: &'static str, action: &'static str, text: &str) {
        self.hand_in(Note {
            regarding,
            warning: true,
            reason,
            action,
            text: shortened(text),
        });
    }

    fn hand_in(&self, note: Note) {
        if let Some(sender) = &self.sender
            && sender.try_send(note).is_err()
        {
            self.metrics.event("dropped");
        }
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_NOTE)].to_owned()
}
