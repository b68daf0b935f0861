//! What the tests of this module share: a Service, a node, endpoints in few words, and the check that compares.

mod join;
mod select;

use lb_common::addr::Protocol;

use super::{EndpointState, ResolvedPort, resolve};
use crate::model::{
    Endpoint, EndpointPort, EndpointSlice, Family, Node, ObjectName, Service, ServicePort,
};

const HERE: &str = "here";
const ZONE: &str = "zone-a";

/// A ready endpoint on no node in particular, without hints.
fn ready(address: &str) -> Endpoint {
    Endpoint {
        address: address.parse().expect("address"),
        ready: true,
        serving: true,
        terminating: false,
        node: None,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    }
}

/// Neither ready nor being shut down: its probe fails.
fn unready(address: &str) -> Endpoint {
    Endpoint {
        ready: false,
        serving: false,
        ..ready(address)
    }
}

/// Being shut down, still serving.
fn draining(address: &str) -> Endpoint {
    Endpoint {
        ready: false,
        terminating: true,
        ..ready(address)
    }
}

/// Being shut down, no longer serving.
fn gone(address: &str) -> Endpoint {
    Endpoint {
        serving: false,
        ..draining(address)
    }
}

impl Endpoint {
    fn on(self, node: &str) -> Self {
        Self {
            node: Some(node.into()),
            ..self
        }
    }

    fn for_zones(self, zones: &[&str]) -> Self {
        Self {
            zone_hints: zones.iter().map(|zone| zone.to_string()).collect(),
            ..self
        }
    }

    fn for_nodes(self, nodes: &[&str]) -> Self {
        Self {
            node_hints: nodes.iter().map(|node| node.to_string()).collect(),
            ..self
        }
    }
}

fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn port(port_name: &str, protocol: Protocol, port: u16) -> ServicePort {
    ServicePort {
        name: port_name.into(),
        protocol,
        port,
    }
}

fn endpoint_port(port_name: &str, protocol: Protocol, port: u16) -> EndpointPort {
    EndpointPort {
        name: port_name.into(),
        protocol,
        port,
    }
}

/// A Service with one nameless TCP port 80.
fn service(cluster_ips: &[&str]) -> Service {
    Service {
        name: name("backend"),
        created: 1_700_000_000,
        cluster_ips: cluster_ips
            .iter()
            .map(|ip| ip.parse().expect("address"))
            .collect(),
        ports: vec![port("", Protocol::Tcp, 80)],
        internal_local: false,
        affinity_seconds: 0,
    }
}

/// A slice of that Service: one nameless TCP port 8080; the family is that of its first endpoint.
fn slice(slice_name: &str, endpoints: &[Endpoint]) -> EndpointSlice {
    EndpointSlice {
        name: name(slice_name),
        service: "backend".into(),
        family: endpoints
            .first()
            .map_or(Family::V4, |first| Family::of(&first.address)),
        ports: vec![endpoint_port("", Protocol::Tcp, 8080)],
        endpoints: endpoints.to_vec(),
    }
}

fn node() -> Node {
    Node {
        name: HERE.into(),
        zone: Some(ZONE.into()),
    }
}

/// The endpoints of a port as words: address and port, then `cluster`, `local`, `draining` where they apply.
fn words(port: &ResolvedPort) -> Vec<String> {
    port.endpoints
        .iter()
        .map(|endpoint| {
            let mut text = endpoint.address.to_string();
            let flags = [
                (endpoint.cluster, " cluster"),
                (endpoint.local, " local"),
                (endpoint.state == EndpointState::Terminating, " draining"),
            ];
            for (_, word) in flags.iter().filter(|(set, _)| *set) {
                text.push_str(word);
            }
            text
        })
        .collect()
}
