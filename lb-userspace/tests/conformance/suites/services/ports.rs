//! Ports: several, named, changed, of both protocols, and on different numbers in different pods (S-2, S-3).

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::case::Case;
use crate::traffic::{Http, Udp};

fn two_named_ports() -> Value {
    json!([
        { "name": "portname1", "port": 80, "targetPort": "svc1" },
        { "name": "portname2", "port": 81, "targetPort": "svc2" },
    ])
}

pub fn multiport(case: &Case<'_>) -> Result<()> {
    let multi = case.service("multi", json!({ "ports": two_named_ports() }))?;
    let client = case.client()?;
    let first = case.pod("pod1").of("multi").serving(100);
    let first = first.port("svc1", 100, "TCP").ready()?;
    client.reaches(Http, &multi.at(80), &[&first])?;
    client.is_refused(Http, &multi.at(81))?;
    let second = case.pod("pod2").of("multi").serving(101);
    let second = second.port("svc2", 101, "TCP").ready()?;
    client.reaches(Http, &multi.at(80), &[&first])?;
    client.reaches(Http, &multi.at(81), &[&second])?;
    case.delete_pod(&first)?;
    client.is_refused(Http, &multi.at(80))?;
    client.reaches(Http, &multi.at(81), &[&second])?;
    case.delete_pod(&second)?;
    client.is_refused(Http, &multi.at(81))
}

pub fn edited(case: &Case<'_>) -> Result<()> {
    let one = json!([{ "name": "portname1", "port": 80, "targetPort": "svc1" }]);
    let edited = case.service("edited", json!({ "ports": one }))?;
    let client = case.client()?;
    let first = case.pod("pod1").of("edited").serving(100);
    let first = first.port("svc1", 100, "TCP").ready()?;
    client.reaches(Http, &edited.at(80), &[&first])?;
    case.change_service("edited", json!({ "ports": two_named_ports() }))?;
    let second = case.pod("pod2").of("edited").serving(101);
    let second = second.port("svc2", 101, "TCP").ready()?;
    client.reaches(Http, &edited.at(80), &[&first])?;
    client.reaches(Http, &edited.at(81), &[&second])?;
    case.change_service("edited", json!({ "ports": one }))?;
    client.cannot_reach(Http, &edited.at(81))?;
    client.reaches(Http, &edited.at(80), &[&first])
}

/// TCP and UDP on one port number, to one number in the pods.
fn both(target: Value) -> [Value; 2] {
    ["TCP", "UDP"].map(|protocol| {
        let name = format!("{}-port", protocol.to_lowercase());
        let target = match target.is_null() {
            true => json!(name),
            false => target.clone(),
        };
        json!({ "name": name, "port": 80, "targetPort": target, "protocol": protocol })
    })
}

pub fn both_protocols(case: &Case<'_>) -> Result<()> {
    let [tcp, udp] = both(json!(8080));
    let service = case.service("multiprotocol", json!({ "ports": [tcp, udp] }))?;
    let pod = case.pod("pod1").of("multiprotocol").serving(8080).ready()?;
    let client = case.client()?;
    let at = service.at(80);
    client.reaches(Http, &at, &[&pod])?;
    client.reaches(Udp, &at, &[&pod])?;
    case.change_service("multiprotocol", json!({ "ports": [tcp] }))?;
    client.cannot_reach(Udp, &at)?;
    client.reaches(Http, &at, &[&pod])?;
    case.change_service("multiprotocol", json!({ "ports": [udp] }))?;
    client.cannot_reach(Http, &at)?;
    client.reaches(Udp, &at, &[&pod])
}

pub fn both_protocols_of_a_load_balancer(case: &Case<'_>) -> Result<()> {
    let [tcp, udp] = both(Value::Null);
    let balancer = json!({ "type": "LoadBalancer", "ports": [tcp, udp] });
    let service = case.service("balancer", balancer)?;
    let pod = case.pod("pod1").of("balancer").serving(100);
    let pod = pod
        .port("tcp-port", 100, "TCP")
        .port("udp-port", 100, "UDP");
    let pod = pod.ready()?;
    let client = case.client()?;
    client.reaches(Http, &service.at(80), &[&pod])?;
    client.reaches(Udp, &service.at(80), &[&pod])
}

pub fn sctp(case: &Case<'_>) -> Result<()> {
    let loaded_before = sctp_is_loaded();
    let port = json!({ "port": 5060, "targetPort": 5060, "protocol": "SCTP" });
    let service = case.service("sctp", json!({ "ports": [port] }))?;
    let pod = case
        .pod("pod1")
        .of("sctp")
        .port("sctp", 5060, "SCTP")
        .ready()?;
    let expected = crate::case::sockets(&[(&pod, 5060)]);
    case.until_endpoints("sctp", &expected)?;
    case.delete_pod(&pod)?;
    case.until_endpoints("sctp", &Default::default())?;
    // The agents have had as much time with it as with this one.
    let web = case.tcp_service("web", 80, 8080)?;
    let server = case.pod("pod2").of("web").serving(8080).ready()?;
    case.client()?.reaches(Http, &web.at(80), &[&server])?;
    ensure!(
        loaded_before || !sctp_is_loaded(),
        "the kernel's SCTP was loaded for {:?}",
        service.addresses
    );
    Ok(())
}

/// The kernel's SCTP shows itself here in each network namespace (`net/sctp/protocol.c`).
fn sctp_is_loaded() -> bool {
    Path::new("/proc/net/sctp").exists()
}

pub fn of_sidecars(case: &Case<'_>) -> Result<()> {
    through_a_sidecar(case, json!(8080))
}

pub fn named_of_sidecars(case: &Case<'_>) -> Result<()> {
    through_a_sidecar(case, json!("http-sidecar"))
}

fn through_a_sidecar(case: &Case<'_>, target: Value) -> Result<()> {
    let sidecar = json!({ "initContainers": [{
        "name": "sidecar",
        "image": "agnhost",
        "args": ["netexec", "--http-port=8080", "--udp-port=-1"],
        "restartPolicy": "Always",
        "ports": [{ "name": "http-sidecar", "containerPort": 8080 }],
    }]});
    let pod = case.pod("pod").of("sidecar").with(sidecar).ready()?;
    let ports = json!([{ "name": "http-sidecar", "port": 8080, "targetPort": target }]);
    let service = case.service("sidecar", json!({ "ports": ports }))?;
    case.client()?.reaches(Http, &service.at(8080), &[&pod])
}

pub fn named_differently(case: &Case<'_>) -> Result<()> {
    let ports = json!([{ "port": 8001, "targetPort": "mutable-port" }]);
    let service = case.service("mutable", json!({ "ports": ports }))?;
    let pod = |name: &str, port| {
        let pod = case.pod(name).of("mutable").serving(port);
        pod.port("mutable-port", port, "TCP").ready()
    };
    let client = case.client()?;
    let at = service.at(8001);
    let (first, second) = (pod("testpod0", 8080)?, pod("testpod1", 8080)?);
    client.reaches(Http, &at, &[&first, &second])?;
    case.delete_pod(&first)?;
    let third = pod("testpod2", 8000)?;
    client.reaches(Http, &at, &[&second, &third])?;
    case.delete_pod(&second)?;
    let fourth = pod("testpod3", 8000)?;
    client.reaches(Http, &at, &[&third, &fourth])
}
