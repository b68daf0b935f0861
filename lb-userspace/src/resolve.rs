//! From a Service and its EndpointSlices to frontends and backends: pure, one Service at a time.
//!
//! Knows ClusterIP frontends alone, and nothing of what the maps hold: which Service keeps a contested frontend and how
//! endpoints become slots is decided further on.

mod candidate;
mod select;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use lb_common::backend::BackendState;

use crate::model::{EndpointSlice, Family, Node, Service, ServicePort, ServicePortName};

/// Resolves every port of a Service, sorted by name. `slices` are the EndpointSlices of this Service in any order,
/// `node` is the node that the agent runs on.
///
/// Each family is resolved on its own, as if it had a proxy to itself (S-7): hints, the fallback to terminating endpoints
/// and `has_endpoints` of one never depend on the other. A family without a ClusterIP gets neither frontend nor endpoint.
pub fn resolve(service: &Service, slices: &[&EndpointSlice], node: &Node) -> Vec<ResolvedPort> {
    let mut slices = slices.to_vec();
    slices.sort_by(|a, b| a.name.cmp(&b.name));
    let mut ports: Vec<_> = service
        .ports
        .iter()
        .map(|port| resolve_port(service, port, &slices, node))
        .collect();
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports
}

/// What the data plane should do for one service port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolvedPort {
    /// Identity of the service port.
    pub name: ServicePortName,
    /// When the Service was made, in seconds of Unix time; the older of two Services keeps a contested frontend.
    pub created: i64,
    /// The frontends of both families.
    pub frontends: Vec<SocketAddr>,
    /// The endpoints of both families that need a backend row, sorted: those that are selected, and those that only serve
    /// the flows that they have (S-51). Each address and port occurs once (S-5).
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
    /// Not being shut down, or ready all the same (a Service may publish endpoints whatever their state).
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

fn resolve_port(
    service: &Service,
    port: &ServicePort,
    slices: &[&EndpointSlice],
    node: &Node,
) -> ResolvedPort {
    let mut frontends: Vec<_> = service
        .cluster_ips
        .iter()
        .map(|address| SocketAddr::new(*address, port.port))
        .collect();
    frontends.sort();

    let mut endpoints = Vec::new();
    let mut has_endpoints = [false; 2];
    for (family, has) in [Family::V4, Family::V6].into_iter().zip(&mut has_endpoints) {
        if service
            .cluster_ips
            .iter()
            .any(|address| Family::of(address) == family)
        {
            let candidates = candidate::candidates(port, family, slices, node);
            let selection = select::select(&candidates, service.internal_local, node);
            endpoints.extend(selection.endpoints);
            *has = selection.has_endpoints;
        }
    }

    ResolvedPort {
        name: ServicePortName {
            service: service.name.clone(),
            port_name: port.name.clone(),
            protocol: port.protocol,
        },
        created: service.created,
        frontends,
        endpoints,
        internal_local: service.internal_local,
        has_endpoints,
        affinity_seconds: service.affinity_seconds,
    }
}
