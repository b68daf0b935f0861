//! A Service of the API as the model's, or not served (S-1). Chooses no endpoint.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1;

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
    let Some(spec) = object.spec.as_ref().filter(|spec| is_served(object, spec)) else {
        return Converted::not_served();
    };
    let mut problems = Vec::new();
    let cluster_ips = cluster_ips(spec, &mut problems);
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
    let served = !service.cluster_ips.is_empty() && !service.ports.is_empty();
    Converted {
        object: served.then(|| Arc::new(service)),
        problems,
    }
}

fn is_served(object: &v1::Service, spec: &v1::ServiceSpec) -> bool {
    let other_proxy = object
        .metadata
        .labels
        .as_ref()
        .is_some_and(|labels| labels.contains_key(PROXY_NAME));
    let external = spec.type_.as_deref() == Some("ExternalName");
    let headless = cluster_ip_texts(spec).any(|text| text == "None");
    !other_proxy && !external && !headless && cluster_ip_texts(spec).next().is_some()
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

fn cluster_ips(spec: &v1::ServiceSpec, problems: &mut Vec<Problem>) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = Vec::new();
    for text in cluster_ip_texts(spec) {
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
