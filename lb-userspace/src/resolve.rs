//! From a Service and its EndpointSlices to frontends and backends: pure, one Service at a time.

use std::net::SocketAddr;

use lb_common::backend::BackendState;

use crate::model::ServicePortName;

/// What the data plane should do for one service port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolvedPort {
    /// Identity of the service port.
    pub name: ServicePortName,
    /// When the Service was made, in seconds of Unix time; the older of two Services keeps a contested frontend.
    pub created: i64,
    /// The frontends of both families.
    pub frontends: Vec<SocketAddr>,
    /// The endpoints of both families that need a backend row: those that are selected, and those that only serve the
    /// flows that they have. Each address and port occurs once (S-5).
    pub endpoints: Vec<ResolvedEndpoint>,
    /// Select from the endpoints of this node alone (S-23).
    pub internal_local: bool,
    /// Some endpoint is usable somewhere in the cluster, by family (S-20.4): `[IPv4, IPv6]`.
    pub has_endpoints: [bool; 2],
    /// Session affinity timeout in seconds, 0 for none (S-25).
    pub affinity_seconds: u32,
}

/// An endpoint of a resolved service port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResolvedEndpoint {
    /// Address and port of the endpoint.
    pub address: SocketAddr,
    /// Whether it is being shut down.
    pub state: EndpointState,
    /// Is selected where the whole cluster's endpoints are (S-20.2).
    pub cluster: bool,
    /// Is selected where this node's endpoints are (S-20.3).
    pub local: bool,
}

/// State of a resolved endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EndpointState {
    /// Ready.
    Active,
    /// Being shut down, still serving.
    Terminating,
}

impl From<EndpointState> for BackendState {
    fn from(state: EndpointState) -> Self {
        match state {
            EndpointState::Active => Self::Active,
            EndpointState::Terminating => Self::Terminating,
        }
    }
}
