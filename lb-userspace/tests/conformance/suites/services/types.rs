//! Services that change their type, and what becomes of their VIPs.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::case::{Case, Pod, Service};
use crate::traffic::{Http, Udp};

const NAME: &str = "changing";

fn http_port() -> Value {
    json!([{ "name": "http", "port": 80, "targetPort": 9376, "protocol": "TCP" }])
}

pub fn node_port(case: &Case<'_>) -> Result<()> {
    let service = case.service(NAME, json!({ "type": "NodePort", "ports": http_port() }))?;
    serves(case, &service).map(drop)
}

pub fn node_port_of_both_protocols(case: &Case<'_>) -> Result<()> {
    let service = case.service(NAME, json!({ "ports": http_port() }))?;
    let pods = case.servers(NAME, 2, 9376)?;
    let client = case.client()?;
    client.reaches(Http, &service.at(80), &[&pods[0], &pods[1]])?;
    let ports = ["TCP", "UDP"].map(|protocol| {
        let name = protocol.to_lowercase();
        json!({ "name": name, "port": 80, "targetPort": 9376, "protocol": protocol, "nodePort": 30080 })
    });
    case.change_service(NAME, json!({ "type": "NodePort", "ports": ports }))?;
    client.reaches(Http, &service.at(80), &[&pods[0], &pods[1]])?;
    client.reaches(Udp, &service.at(80), &[&pods[0], &pods[1]])
}

pub fn external_name_to_cluster_ip(case: &Case<'_>) -> Result<()> {
    from_external_name(case, "ClusterIP")
}

pub fn external_name_to_node_port(case: &Case<'_>) -> Result<()> {
    from_external_name(case, "NodePort")
}

pub fn cluster_ip_to_external_name(case: &Case<'_>) -> Result<()> {
    to_external_name(case, "ClusterIP")
}

pub fn node_port_to_external_name(case: &Case<'_>) -> Result<()> {
    to_external_name(case, "NodePort")
}

fn from_external_name(case: &Case<'_>, kind: &str) -> Result<()> {
    let external = json!({ "type": "ExternalName", "externalName": "foo.example.com" });
    let before = case.service(NAME, external)?;
    ensure!(
        before.addresses.is_empty(),
        "an ExternalName has {before:?}"
    );
    let service = case.change_service(
        NAME,
        json!({
            "type": kind,
            "externalName": null,
            "selector": { "app": NAME },
            "ipFamilyPolicy": "PreferDualStack",
            "ports": http_port(),
        }),
    )?;
    serves(case, &service).map(drop)
}

fn to_external_name(case: &Case<'_>, kind: &str) -> Result<()> {
    let before = case.service(NAME, json!({ "type": kind, "ports": http_port() }))?;
    let client = serves(case, &before)?;
    let after = case.change_service(
        NAME,
        json!({
            "type": "ExternalName",
            "externalName": "foo.example.com",
            "clusterIP": null,
            "clusterIPs": null,
            "ipFamilies": null,
            "ipFamilyPolicy": null,
        }),
    )?;
    ensure!(after.addresses.is_empty(), "an ExternalName has {after:?}");
    client.cannot_reach(Http, &before.at(80))
}

/// Two pods answer at the Service's VIPs. Returns the client that has found them.
fn serves(case: &Case<'_>, service: &Service) -> Result<Pod> {
    let pods = case.servers(NAME, 2, 9376)?;
    let client = case.client()?;
    client.reaches(Http, &service.at(80), &[&pods[0], &pods[1]])?;
    Ok(client)
}
