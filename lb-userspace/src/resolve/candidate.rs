//! The endpoints of one service port in one family, joined over all slices, each address and port once. Decides nothing
//! about which of them are selected.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::{Endpoint, EndpointSlice, Family, Node, ServicePort};

/// An endpoint that may be selected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// Runs on this node (S-6).
    pub(super) local: bool,
}

impl Candidate<'_> {
    /// Takes new connections.
    pub(super) fn is_ready(&self) -> bool {
        self.endpoint.ready
    }

    /// May stand in where no endpoint is ready (S-22).
    pub(super) fn is_draining(&self) -> bool {
        self.endpoint.serving && self.endpoint.terminating
    }

    /// Answers on the flows that it has.
    pub(super) fn is_serving(&self) -> bool {
        self.endpoint.ready || self.endpoint.serving
    }
}

/// Joins a service port with its endpoints by port name and protocol (S-3). Of two endpoints with one address and port the
/// one that is not terminating wins, else the last in the order of `slices` (S-5).
pub(super) fn candidates<'a>(
    port: &ServicePort,
    family: Family,
    slices: &[&'a EndpointSlice],
    node: &Node,
) -> BTreeMap<SocketAddr, Candidate<'a>> {
    let mut found: BTreeMap<SocketAddr, Candidate<'a>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.family == family) {
        let numbers = slice
            .ports
            .iter()
            .filter(|candidate| candidate.name == port.name && candidate.protocol == port.protocol);
        for number in numbers {
            for endpoint in &slice.endpoints {
                let candidate = Candidate {
                    endpoint,
                    local: endpoint.node.as_deref() == Some(node.name.as_str()),
                };
                found
                    .entry(SocketAddr::new(endpoint.address, number.port))
                    .and_modify(|held| {
                        if held.endpoint.terminating || !endpoint.terminating {
                            *held = candidate;
                        }
                    })
                    .or_insert(candidate);
            }
        }
    }
    found
}
