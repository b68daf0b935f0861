//! EndpointSlices, those that the control plane makes and those that a test makes itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use super::{Case, Pod};

impl Case<'_> {
    /// The slices of a Service.
    pub fn slices(&self, service: &str) -> Result<Vec<EndpointSlice>> {
        self.list(&format!("kubernetes.io/service-name={service}"))
    }

    /// Makes a slice for each family of the addresses of some pods, all of them ready. Returns the slices' names.
    pub fn publish(
        &self,
        service: &str,
        pods: &[&Pod],
        port: &str,
        target: u16,
    ) -> Result<Vec<String>> {
        ["IPv4", "IPv6"]
            .iter()
            .enumerate()
            .map(|(family, word)| {
                let endpoints = pods.iter().map(|pod| {
                    json!({ "addresses": [pod.addresses[family]], "conditions": { "ready": true } })
                });
                let slice: EndpointSlice = self.create(json!({
                    "metadata": {
                        "generateName": format!("{service}-"),
                        "labels": {
                            "kubernetes.io/service-name": service,
                            "endpointslice.kubernetes.io/managed-by": "conformance",
                        },
                    },
                    "addressType": word,
                    "endpoints": endpoints.collect::<Vec<_>>(),
                    "ports": [{ "name": port, "port": target, "protocol": "TCP" }],
                }))?;
                Ok(slice.metadata.name.unwrap_or_default())
            })
            .collect()
    }

    /// Waits until a Service's slices name exactly these ready endpoints, each with its port.
    pub fn until_endpoints(&self, service: &str, expected: &BTreeSet<SocketAddr>) -> Result<()> {
        let what = format!("the slices of {service} to name {expected:?}");
        self.until(&what, || {
            let found = ready_endpoints(&self.slices(service)?);
            Ok((found == *expected).then_some(()))
        })
    }
}

/// Every pod's addresses with a port.
pub fn sockets(pods: &[(&Pod, u16)]) -> BTreeSet<SocketAddr> {
    let each = pods.iter();
    each.flat_map(|(pod, port)| pod.addresses.iter().map(|address| (*address, *port).into()))
        .collect()
}

/// All ready endpoints of some slices.
pub fn ready_endpoints(slices: &[EndpointSlice]) -> BTreeSet<SocketAddr> {
    let mut found = BTreeSet::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten().filter_map(|port| port.port);
        let ports: Vec<u16> = ports.filter_map(|port| port.try_into().ok()).collect();
        for endpoint in &slice.endpoints {
            let conditions = endpoint.conditions.as_ref();
            if conditions.and_then(|conditions| conditions.ready) == Some(false) {
                continue;
            }
            let addresses = endpoint.addresses.iter();
            let addresses = addresses.filter_map(|text| text.parse::<IpAddr>().ok());
            found.extend(addresses.flat_map(|address| {
                ports
                    .iter()
                    .map(move |port| SocketAddr::from((address, *port)))
            }));
        }
    }
    found
}
