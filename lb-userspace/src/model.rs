//! Services, EndpointSlices and the node, in our words. No Kubernetes type goes beyond `source`, which makes these.

pub mod cidr;
pub mod event;
pub mod families;
pub mod index;
pub mod unread;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::addr::Protocol;

pub use cidr::{Cidr, CidrError};
pub use event::SourceEvent;
pub use families::Families;
pub use index::Index;
pub use unread::{Concern, Unread};

/// Namespace and name of an object. A copy shares the text: an object's name is kept by every stage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// A name of an object.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() && !self.name.is_empty() {
            // Of the cluster.
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Identity of a service port: what Kubernetes calls a ServicePortName (S-2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServicePortName {
    /// The Service.
    pub service: ObjectName,
    /// Name of the port, empty where it has none.
    pub port_name: Arc<str>,
    /// Protocol of the port.
    pub protocol: Protocol,
}

impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.service)?;
        if !self.port_name.is_empty() {
            write!(f, ":{}", self.port_name)?;
        }
        write!(f, "/{}", self.protocol.name())
    }
}

/// A Service with an address. One that has none (headless, ExternalName) is told as one that does not exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// When it was made, in seconds of Unix time; the older of two Services keeps a contested frontend.
    pub created: i64,
    /// The ClusterIPs, at most one of each family (S-7).
    pub cluster_ips: Vec<IpAddr>,
    /// The ports that are served: none of a Service of another proxy (S-1), or of one that can't be read.
    pub ports: Vec<ServicePort>,
    /// internalTrafficPolicy is Local (S-23).
    pub internal_local: bool,
    /// Session affinity timeout in seconds, 0 for none (S-25).
    pub affinity_seconds: u32,
}

/// Ranges that Services get their addresses from (S-30 d).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceCidr {
    /// The ranges.
    pub ranges: Vec<Cidr>,
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Name, empty where it has none.
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the frontend.
    pub port: u16,
}

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// An EndpointSlice with addresses of one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: ObjectName,
    /// Name of the Service in the same namespace (label `kubernetes.io/service-name`, S-3).
    pub service: Arc<str>,
    /// Family of all its addresses.
    pub family: Family,
    /// The ports of every endpoint.
    pub ports: Vec<EndpointPort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of the endpoints of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointPort {
    /// Name, empty where it has none; matches the Service port's (S-3).
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Number, never 0.
    pub port: u16,
}

/// An endpoint of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Its first address (S-3).
    pub address: IpAddr,
    /// Takes new connections (S-4).
    pub ready: bool,
    /// Answers, ready or terminating (S-4).
    pub serving: bool,
    /// Is being shut down (S-4).
    pub terminating: bool,
    /// Node that it runs on (S-6).
    pub node: Option<String>,
    /// Zones whose clients it should serve (hints, S-21).
    pub zone_hints: Vec<String>,
    /// Nodes whose clients it should serve (hints, S-21).
    pub node_hints: Vec<String>,
}

/// The node that the agent runs on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its zone (label `topology.kubernetes.io/zone`), where known.
    pub zone: Option<String>,
}
