//! Which endpoints of one service port in one family are selected: traffic policy, topology hints and the fallback to
//! terminating endpoints (S-20 to S-23). Ranks and weighs nothing: every selected endpoint is as good as the next.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::candidate::Candidate;
use super::{EndpointState, ResolvedEndpoint};
use crate::model::Node;

/// Outcome for one family.
pub(super) struct Selection {
    /// Every endpoint that needs a backend row, sorted.
    pub(super) endpoints: Vec<ResolvedEndpoint>,
    /// Some endpoint is usable somewhere in the cluster (S-20.4).
    pub(super) has_endpoints: bool,
}

/// Selects among the whole cluster's endpoints, or with `internal_local` among this node's alone (S-20.1, S-23).
pub(super) fn select(
    candidates: &BTreeMap<SocketAddr, Candidate<'_>>,
    internal_local: bool,
    node: &Node,
) -> Selection {
    let topology = Topology::of(candidates.values(), node);
    let cluster = !internal_local;
    // Hints never empty the set of ready endpoints, so only their absence brings the draining ones in (S-20.2).
    let cluster_ready = candidates.values().any(Candidate::is_ready);
    let local_ready = candidates.values().any(|c| c.local && c.is_ready());

    let chosen = |c: &Candidate<'_>, some_ready: bool| {
        if some_ready {
            c.is_ready()
        } else {
            c.is_draining()
        }
    };
    let endpoints = candidates
        .iter()
        .filter(|(_, c)| c.is_serving())
        .map(|(address, c)| ResolvedEndpoint {
            address: *address,
            state: state(c),
            cluster: cluster
                && chosen(c, cluster_ready)
                && (!cluster_ready || topology.admits(c, node)),
            local: internal_local && c.local && chosen(c, local_ready),
        })
        .collect();
    Selection {
        endpoints,
        has_endpoints: candidates.values().any(|c| c.is_ready() || c.is_draining()),
    }
}

fn state(candidate: &Candidate<'_>) -> EndpointState {
    if candidate.endpoint.terminating && !candidate.endpoint.ready {
        EndpointState::Terminating
    } else {
        EndpointState::Active
    }
}

/// What the hints of the ready endpoints allow (S-21).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Topology {
    SameNode,
    SameZone,
    Any,
}

impl Topology {
    /// One endpoint without a hint, or no hint for us, turns a kind of hint off for all.
    fn of<'c, 'e: 'c>(
        candidates: impl Iterator<Item = &'c Candidate<'e>> + Clone,
        node: &Node,
    ) -> Self {
        let ready = candidates.filter(|c| c.is_ready());
        let usable = |mode: Self| {
            let hinted = match mode {
                Self::SameNode => ready.clone().all(|c| !c.endpoint.node_hints.is_empty()),
                Self::SameZone => ready.clone().all(|c| !c.endpoint.zone_hints.is_empty()),
                Self::Any => true,
            };
            hinted && ready.clone().any(|c| mode.admits(c, node))
        };
        [Self::SameNode, Self::SameZone]
            .into_iter()
            .find(|mode| usable(*mode))
            .unwrap_or(Self::Any)
    }

    fn admits(self, candidate: &Candidate<'_>, node: &Node) -> bool {
        match self {
            Self::SameNode => candidate.endpoint.node_hints.contains(&node.name),
            Self::SameZone => node
                .zone
                .as_ref()
                .is_some_and(|zone| candidate.endpoint.zone_hints.contains(zone)),
            Self::Any => true,
        }
    }
}
