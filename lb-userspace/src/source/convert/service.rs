//! A Service of the API as the model's: with its ports, or without any where another proxy serves it (S-1). Chooses no endpoint.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1;
use serde_json::Value;

use super::{Converted, Problem, address, port_number, protocol};
use crate::model::{Family, ObjectName, Service, ServicePort};

/// Label that hands a Service to another proxy, whatever its value (S-1).
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Timeout of a ClientIP affinity that names none, in seconds (S-25).
const DEFAULT_AFFINITY: u32 = 10_800;
/// Longest timeout of an affinity, in seconds: a day (S-25).
const MAX_AFFINITY: u32 = 86_400;

/// Converts a Service. `name` is where it is filed, for the API may leave the namespace out of a manifest.
pub fn service(name: &ObjectName, object: &v1::Service) -> Converted<Service> {
    let Some(spec) = object.spec.as_ref().filter(|spec| has_address(spec)) else {
        return Converted::not_served();
    };
    if is_another_proxys(object) {
        // What is wrong with it is that proxy's business.
        return Converted {
            object: unserved(name, cluster_ips(cluster_ip_texts(spec), &mut Vec::new())),
            problems: Vec::new(),
        };
    }
    let mut problems = Vec::new();
    let cluster_ips = cluster_ips(cluster_ip_texts(spec), &mut problems);
    let ports = ports(spec, &mut problems);
    let service = Service {
        name: name.clone(),
        created: object
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.0.as_second()),
        internal_local: internal_local(spec, &mut problems),
        affinity_seconds: affinity_seconds(spec, &mut problems),
        cluster_ips,
        ports,
    };
    // Without an address or a port there is no frontend; the problems say why.
    Converted {
        object: (!service.cluster_ips.is_empty()).then(|| Arc::new(service)),
        problems,
    }
}

/// What is known of a Service that can't be read: its addresses, where these can be.
pub fn unreadable_service(name: &ObjectName, object: &Value) -> Option<Arc<Service>> {
    let spec = &object["spec"];
    let list = spec["clusterIPs"].as_array().map_or(&[][..], |list| list);
    let single = Some(&spec["clusterIP"]).filter(|_| list.is_empty());
    let texts = list.iter().chain(single).filter_map(Value::as_str);
    unserved(name, cluster_ips(texts, &mut Vec::new()))
}

/// A Service with these addresses, none of which is served (S-30 d).
fn unserved(name: &ObjectName, cluster_ips: Vec<IpAddr>) -> Option<Arc<Service>> {
    let service = Service {
        name: name.clone(),
        created: 0,
        cluster_ips,
        ports: Vec::new(),
        internal_local: false,
        affinity_seconds: 0,
    };
    (!service.cluster_ips.is_empty()).then(|| Arc::new(service))
}

/// Whether another proxy serves it (S-1).
fn is_another_proxys(object: &v1::Service) -> bool {
    let labels = object.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(PROXY_NAME))
}

fn has_address(spec: &v1::ServiceSpec) -> bool {
    let external = spec.type_.as_deref() == Some("ExternalName");
    let headless = cluster_ip_texts(spec).any(|text| text == "None");
    !external && !headless && cluster_ip_texts(spec).next().is_some()
}

/// The list, or the single address of a manifest that has no list.
fn cluster_ip_texts(spec: &v1::ServiceSpec) -> impl Iterator<Item = &str> {
    let list = spec.cluster_ips.as_deref().unwrap_or_default();
    let single = spec.cluster_ip.as_ref().filter(|_| list.is_empty());
    list.iter()
        .chain(single)
        .map(String::as_str)
        .filter(|text| !text.is_empty())
}

fn cluster_ips<'a>(
    texts: impl Iterator<Item = &'a str>,
    problems: &mut Vec<Problem>,
) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = Vec::new();
    for text in texts {
        let Some(ip) = address::parse(text) else {
            problems.push(Problem::InvalidClusterIp(text.to_owned()));
            continue;
        };
        if let Some(what) = address::special(&ip) {
            problems.push(Problem::SpecialClusterIp(ip, what));
        } else if ips.iter().any(|held| Family::of(held) == Family::of(&ip)) {
            problems.push(Problem::SurplusClusterIp(ip));
        } else {
            ips.push(ip);
        }
    }
    ips
}

fn ports(spec: &v1::ServiceSpec, problems: &mut Vec<Problem>) -> Vec<ServicePort> {
    let mut ports = Vec::new();
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for port in spec.ports.iter().flatten() {
        let name = port.name.clone().unwrap_or_default();
        let Some(protocol) = protocol(port.protocol.as_deref()) else {
            problems.push(Problem::UnsupportedProtocol {
                number: port.port,
                protocol: port.protocol.clone().unwrap_or_default(),
            });
            continue;
        };
        let Some(number) = port_number(port.port) else {
            problems.push(Problem::InvalidServicePort {
                name,
                number: port.port,
            });
            continue;
        };
        if names.contains(&(name.clone(), protocol)) || numbers.contains(&(number, protocol)) {
            problems.push(Problem::DuplicateServicePort {
                name,
                number,
                protocol: protocol.name(),
            });
            continue;
        }
        names.insert((name.clone(), protocol));
        numbers.insert((number, protocol));
        ports.push(ServicePort {
            name: name.into(),
            protocol,
            port: number,
        });
    }
    if spec.ports.as_ref().is_none_or(Vec::is_empty) {
        problems.push(Problem::NoPort);
    }
    ports
}

fn affinity_seconds(spec: &v1::ServiceSpec, problems: &mut Vec<Problem>) -> u32 {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return 0,
        Some("ClientIP") => {}
        Some(other) => {
            problems.push(Problem::UnknownAffinity(other.to_owned()));
            return 0;
        }
    }
    let configured = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref())
        .and_then(|client| client.timeout_seconds);
    let Some(seconds) = configured else {
        return DEFAULT_AFFINITY;
    };
    match u32::try_from(seconds) {
        Ok(valid @ 1..=MAX_AFFINITY) => valid,
        _ => {
            problems.push(Problem::InvalidAffinityTimeout {
                seconds,
                default: DEFAULT_AFFINITY,
            });
            DEFAULT_AFFINITY
        }
    }
}

fn internal_local(spec: &v1::ServiceSpec, problems: &mut Vec<Problem>) -> bool {
    match spec.internal_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => false,
        Some("Local") => true,
        Some(other) => {
            problems.push(Problem::UnknownInternalPolicy(other.to_owned()));
            false
        }
    }
}
