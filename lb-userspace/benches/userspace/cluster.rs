//! The objects of a cluster, as a source tells them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use lb_common::addr::Protocol;
use lb_userspace::model::{
    Endpoint, EndpointPort, EndpointSlice, Family, Node, ObjectName, Service, ServicePort,
    SourceEvent, Unread,
};

/// Endpoints of each Service.
pub const ENDPOINTS: u32 = 3;
/// Name of the node that all is resolved for.
pub const NODE: &str = "node-a";

/// Everything that there is, and that it is everything.
pub fn events(services: u32) -> Vec<SourceEvent> {
    let node = Node {
        name: NODE.into(),
        zone: Some("zone-a".into()),
    };
    let mut events = vec![SourceEvent::Node(Some(Arc::new(node)))];
    for number in 0..services {
        let service = service(number);
        events.push(SourceEvent::Service(
            service.name.clone(),
            Some(Arc::new(service)),
        ));
        events.push(slice_event(number, 0));
    }
    events.push(SourceEvent::Synced(Unread::default()));
    events
}

/// A Service with one port.
pub fn service(number: u32) -> Service {
    Service {
        name: name(number),
        created: 0,
        cluster_ips: vec![IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + number))],
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
        }],
        internal_local: false,
        affinity_seconds: 0,
    }
}

/// The endpoints of a Service; the first is another in each edition, up to 63 in a row.
pub fn slice(number: u32, edition: u32) -> EndpointSlice {
    let endpoint = |index: u32| {
        let edition = match (index, edition) {
            (0, 1..) => 1 + edition % 63,
            _ => 0,
        };
        let address = 0x0b00_0000 + (edition << 18) + number * ENDPOINTS + index;
        Endpoint {
            address: IpAddr::V4(Ipv4Addr::from(address)),
            ready: true,
            serving: true,
            terminating: false,
            node: Some(format!("other-{}", index % 50)),
            zone_hints: Vec::new(),
            node_hints: Vec::new(),
        }
    };
    let service = name(number);
    EndpointSlice {
        service: service.name.clone(),
        name: service,
        family: Family::V4,
        ports: vec![EndpointPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        endpoints: (0..ENDPOINTS).map(endpoint).collect(),
    }
}

/// The slice of a Service is now this edition.
pub fn slice_event(number: u32, edition: u32) -> SourceEvent {
    let slice = slice(number, edition);
    SourceEvent::EndpointSlice(slice.name.clone(), Some(Arc::new(slice)))
}

fn name(number: u32) -> ObjectName {
    ObjectName::new("default", format!("service-{number:05}"))
}
