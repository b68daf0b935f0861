//! An EndpointSlice of the API as the model's, or not used (S-1, S-3, S-4). Chooses no endpoint.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1;
use serde_json::Value;

use super::{Converted, Problem, address, port_number, protocol};
use crate::model::{Concern, Endpoint, EndpointPort, EndpointSlice, Family, ObjectName};

/// Label with the name of the Service that a slice belongs to (S-3).
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of the slices of headless Services (S-1).
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What an EndpointSlice with these labels is about, of which nothing more can be read.
pub fn owner(namespace: &str, labels: &Value) -> Concern {
    match labels {
        Value::Null => Concern::Nothing,
        Value::Object(labels) if labels.contains_key(HEADLESS) => Concern::Nothing,
        Value::Object(labels) => match labels.get(SERVICE_NAME) {
            None => Concern::Nothing,
            Some(Value::String(service)) if service.is_empty() => Concern::Nothing,
            Some(Value::String(service)) => {
                Concern::Slice(ObjectName::new(namespace, service.as_str()))
            }
            Some(_) => Concern::Unknown,
        },
        _ => Concern::Unknown,
    }
}

/// Converts an EndpointSlice. `name` is where it is filed, for a manifest may leave the namespace out.
pub fn endpoint_slice(name: &ObjectName, object: &v1::EndpointSlice) -> Converted<EndpointSlice> {
    let labels = object.metadata.labels.clone().unwrap_or_default();
    let Some(service) = labels
        .get(SERVICE_NAME)
        .filter(|service| !service.is_empty())
    else {
        return Converted::not_served();
    };
    if labels.contains_key(HEADLESS) {
        return Converted::not_served();
    }
    let family = match object.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        "FQDN" => return Converted::not_served(),
        other => {
            return Converted {
                object: None,
                problems: vec![Problem::UnknownAddressType(other.to_owned())],
            };
        }
    };

    let mut problems = Vec::new();
    let slice = EndpointSlice {
        name: name.clone(),
        service: service.as_str().into(),
        family,
        ports: object
            .ports
            .iter()
            .flatten()
            .filter_map(|port| endpoint_port(port, &mut problems))
            .collect(),
        endpoints: object
            .endpoints
            .iter()
            .enumerate()
            .filter_map(|(index, object)| endpoint(index, object, family, &mut problems))
            .collect(),
    };
    Converted {
        object: Some(Arc::new(slice)),
        problems,
    }
}

/// A port without a number means "all ports" and is of no use to a proxy: skipped in silence, like the reference (S-3).
fn endpoint_port(port: &v1::EndpointPort, problems: &mut Vec<Problem>) -> Option<EndpointPort> {
    let number = port.port.filter(|number| *number != 0)?;
    let name = port.name.clone().unwrap_or_default();
    let Some(protocol) = protocol(port.protocol.as_deref()) else {
        let text = port.protocol.clone().unwrap_or_default();
        problems.push(Problem::UnknownEndpointProtocol {
            name,
            protocol: text,
        });
        return None;
    };
    let Some(port) = port_number(number) else {
        problems.push(Problem::InvalidEndpointPort { name, number });
        return None;
    };
    Some(EndpointPort {
        name: name.into(),
        protocol,
        port,
    })
}

fn endpoint(
    index: usize,
    object: &v1::Endpoint,
    family: Family,
    problems: &mut Vec<Problem>,
) -> Option<Endpoint> {
    let address = match usable_address(index, object, family) {
        Ok(address) => address,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    let conditions = object.conditions.clone().unwrap_or_default();
    let hints = object.hints.clone().unwrap_or_default();
    Some(Endpoint {
        address,
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        node: object.node_name.clone().filter(|node| !node.is_empty()),
        zone_hints: hints
            .for_zones
            .into_iter()
            .flatten()
            .map(|hint| hint.name)
            .collect(),
        node_hints: hints
            .for_nodes
            .into_iter()
            .flatten()
            .map(|hint| hint.name)
            .collect(),
    })
}

/// Only the first address counts (S-3).
fn usable_address(index: usize, object: &v1::Endpoint, family: Family) -> Result<IpAddr, Problem> {
    let text = object.addresses.first().ok_or(Problem::NoAddress(index))?;
    let address = address::parse(text).ok_or_else(|| Problem::InvalidAddress(text.clone()))?;
    if Family::of(&address) != family {
        return Err(Problem::ForeignAddress {
            address,
            family: address_type(family),
        });
    }
    match address::special_endpoint(&address) {
        Some(what) => Err(Problem::SpecialAddress(address, what)),
        None => Ok(address),
    }
}

fn address_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
