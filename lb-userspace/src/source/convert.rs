//! From the objects of the Kubernetes API to the model. Whatever is wrong with an object costs that part of it alone; no
//! object, however broken, costs another one anything or makes the agent panic.

mod address;
mod node;
mod problem;
mod service;
mod service_cidr;
mod slice;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use node::node;
pub use problem::Problem;
pub use service::{service, unreadable_service};
pub use service_cidr::service_cidr;
pub use slice::{endpoint_slice, owner};

use lb_common::addr::Protocol;

/// Namespace of an object in a manifest that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// An object in the words of the model, none if it is not ours to serve, and all that is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Converted<T> {
    /// What is served of the object.
    pub object: Option<Arc<T>>,
    /// What is not, and why.
    pub problems: Vec<Problem>,
}

impl<T> Converted<T> {
    fn not_served() -> Self {
        Self {
            object: None,
            problems: Vec::new(),
        }
    }
}

/// A port number that a packet can carry, if it is one.
fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

/// The protocol of a name of the API, which defaults to TCP.
fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("") => Some(Protocol::Tcp),
        Some(name) => Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.name() == name),
    }
}
