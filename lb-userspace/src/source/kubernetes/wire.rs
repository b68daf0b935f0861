//! The members of the API's objects that count here. All others are skipped where they stand: what a cluster says about who
//! manages which field is most of a list, and decoding it most of the work.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSpec, Service, ServiceSpec, Taint};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRSpec, ServiceCIDRStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    namespace: Option<String>,
    name: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
}

/// What counts of a Service.
#[derive(Deserialize)]
pub(super) struct ServiceWire {
    metadata: Option<Metadata>,
    spec: Option<ServiceSpec>,
}

/// What counts of an EndpointSlice.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SliceWire {
    metadata: Option<Metadata>,
    address_type: Option<String>,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<EndpointPort>>,
}

/// What counts of a ServiceCIDR.
#[derive(Deserialize)]
pub(super) struct CidrWire {
    metadata: Option<Metadata>,
    spec: Option<ServiceCIDRSpec>,
    status: Option<ServiceCIDRStatus>,
}

/// What counts of a Node.
#[derive(Deserialize)]
pub(super) struct NodeWire {
    metadata: Option<Metadata>,
    spec: Option<NodeSpecWire>,
}

#[derive(Deserialize)]
struct NodeSpecWire {
    taints: Option<Vec<Taint>>,
}

fn metadata(wire: Option<Metadata>) -> ObjectMeta {
    wire.map_or_else(ObjectMeta::default, |wire| ObjectMeta {
        namespace: wire.namespace,
        name: wire.name,
        resource_version: wire.resource_version,
        labels: wire.labels,
        annotations: wire.annotations,
        creation_timestamp: wire.creation_timestamp,
        deletion_timestamp: wire.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

impl From<ServiceWire> for Service {
    fn from(wire: ServiceWire) -> Self {
        Self {
            metadata: metadata(wire.metadata),
            spec: wire.spec,
            status: None,
        }
    }
}

impl From<SliceWire> for EndpointSlice {
    fn from(wire: SliceWire) -> Self {
        Self {
            metadata: metadata(wire.metadata),
            address_type: wire.address_type.unwrap_or_default(),
            endpoints: wire.endpoints.unwrap_or_default(),
            ports: wire.ports,
        }
    }
}

impl From<NodeWire> for Node {
    fn from(wire: NodeWire) -> Self {
        Self {
            metadata: metadata(wire.metadata),
            spec: wire.spec.map(|spec| NodeSpec {
                taints: spec.taints,
                ..NodeSpec::default()
            }),
            status: None,
        }
    }
}

impl From<CidrWire> for ServiceCIDR {
    fn from(wire: CidrWire) -> Self {
        Self {
            metadata: metadata(wire.metadata),
            spec: wire.spec,
            status: wire.status,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check<W: DeserializeOwned + Into<T>, T: DeserializeOwned + PartialEq + std::fmt::Debug>(
        object: Value,
    ) {
        let wire: W = serde_json::from_value(object.clone()).expect("what counts of it");
        let whole: T = serde_json::from_value(object).expect("an object of the API");
        assert_eq!(wire.into(), whole);
    }

    #[test]
    fn what_counts_is_read_as_the_apis_own_types_read_it() {
        let metadata = json!({
            "name": "a", "namespace": "shop", "resourceVersion": "7", "labels": {"l": "1"}, "annotations": {"n": "2"},
            "creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": "2026-01-02T03:04:06Z",
        });
        check::<ServiceWire, Service>(json!({
            "metadata": metadata,
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}], "sessionAffinity": "ClientIP"},
        }));
        check::<SliceWire, EndpointSlice>(json!({
            "metadata": metadata, "addressType": "IPv4", "ports": [{"name": "http", "port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "nodeName": "one"}],
        }));
        check::<NodeWire, Node>(json!({
            "metadata": metadata, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
        }));
        check::<CidrWire, ServiceCIDR>(json!({
            "metadata": metadata, "spec": {"cidrs": ["10.96.0.0/12"]}, "status": {"conditions": [{
                "type": "Ready", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z",
            }]},
        }));
        for nothing in [json!({}), json!({"metadata": null, "spec": null})] {
            check::<CidrWire, ServiceCIDR>(nothing.clone());
            check::<ServiceWire, Service>(nothing.clone());
            check::<NodeWire, Node>(nothing);
        }
        for nothing in [
            json!({}),
            json!({"metadata": null, "addressType": null, "endpoints": null, "ports": null}),
        ] {
            check::<SliceWire, EndpointSlice>(nothing);
        }
    }
}
