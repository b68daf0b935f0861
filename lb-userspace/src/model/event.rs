//! What a source of objects says, in our words. Holds no state; [`super::index`] does.

use std::sync::Arc;

use super::{EndpointSlice, Node, ObjectName, Service, ServiceCidr, Unread};

/// A change that a source has seen. A slice that is not ours to serve is told as one that does not exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceEvent {
    /// The Service is now this, or is gone.
    Service(ObjectName, Option<Arc<Service>>),
    /// The EndpointSlice is now this, or is gone.
    EndpointSlice(ObjectName, Option<Arc<EndpointSlice>>),
    /// The object of the node that the agent runs on is now this, or is gone.
    Node(Option<Arc<Node>>),
    /// The ServiceCIDR is now this, or is gone.
    ServiceCidr(ObjectName, Option<Arc<ServiceCidr>>),
    /// All ServiceCIDRs have been told once, if there are any. They are optional: nothing waits for them.
    ServiceCidrsKnown,
    /// Everything that can be read has been told once (S-8). What can't be read never was: said again each time that this is
    /// less.
    Synced(Unread),
    /// All that is wrong with an object, and no more than that: an empty list when nothing is wrong with it any more.
    Problems {
        /// The object, as in `Service default/backend` or `file web.yaml`.
        object: String,
        /// One sentence each: the object, what is wrong with it, and the remedy.
        messages: Vec<String>,
    },
}
