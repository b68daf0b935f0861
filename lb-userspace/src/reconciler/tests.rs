//! The way from resolved service ports to writes, over maps in memory.

mod conflicts;
mod exhaustion;
mod failures;
mod histories;
mod properties;
mod restart;
mod unallocated;
mod updates;
mod watched;

use std::net::SocketAddr;

use lb_common::addr::Protocol;

use crate::model::{ObjectName, ServicePortName};
use crate::resolve::{EndpointState, ResolvedEndpoint, ResolvedPort};
use watched::Watched;

fn service(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

/// A TCP service port without a name, with active endpoints that are selected in the whole cluster.
fn port(name: &str, frontends: &[&str], endpoints: &[&str]) -> ResolvedPort {
    ResolvedPort {
        name: ServicePortName {
            service: service(name),
            port_name: "".into(),
            protocol: Protocol::Tcp,
        },
        created: 0,
        frontends: frontends.iter().map(|at| at.parse().unwrap()).collect(),
        endpoints: endpoints.iter().map(|at| endpoint(at)).collect(),
        internal_local: false,
        has_endpoints: [!endpoints.is_empty(); 2],
        affinity_seconds: 0,
    }
}

fn endpoint(at: &str) -> ResolvedEndpoint {
    ResolvedEndpoint {
        address: at.parse().unwrap(),
        state: EndpointState::Active,
        cluster: true,
        local: false,
    }
}

/// So many endpoints `10.1.x.y:8080`.
fn endpoints(count: u32) -> Vec<ResolvedEndpoint> {
    let at = |i: u32| SocketAddr::from(([10, 1, (i / 250) as u8, (i % 250) as u8], 8080));
    (0..count)
        .map(|i| ResolvedEndpoint {
            address: at(i),
            ..endpoint("10.1.0.1:80")
        })
        .collect()
}

fn with_endpoints(name: &str, frontend: &str, count: u32) -> ResolvedPort {
    ResolvedPort {
        endpoints: endpoints(count),
        has_endpoints: [count > 0; 2],
        ..port(name, &[frontend], &[])
    }
}

fn apply(world: &mut Watched, port: ResolvedPort) {
    let service = port.name.service.clone();
    world.apply(&service, vec![port]);
}
