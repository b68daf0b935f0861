//! The list of `conntrack.go`, and its bodies: clients that go on while the pods behind a VIP change (S-51), and packets
//! that belong to no window (S-45).

mod host;
mod invalid;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::case::{Case, Pod, Service};
use crate::suite::Port::{Outside, Whole};
use crate::suite::{Suite, test};
use crate::traffic::{Http, Sockets, Udp};

pub fn suite() -> Suite {
    let never_reopened = "the client never opens its socket again";
    Suite {
        title: "Conntrack",
        file: "conntrack.go",
        tests: vec![
            test(
                "should be able to preserve UDP traffic when server pod cycles for a NodePort service",
                Outside("about node ports, which are not served"),
            ),
            test(
                "should be able to preserve UDP traffic when server pod cycles for a ClusterIP service",
                Whole(cycles),
            )
            .remark(
                "the client never opens its socket again, and goes on while the Service is emptied, filled, deleted and made anew",
            ),
            test(
                "should be able to preserve UDP traffic when server pod cycles for a ClusterIP service with InternalTrafficPolicy set to Local",
                Whole(cycles_locally),
            )
            .remark(never_reopened),
            test(
                "should be able to preserve UDP traffic when server pod cycles for a ClusterIP service and client is hostNetwork",
                Whole(host::cycles),
            )
            .remark("as upstream's, the client opens a socket on the same port for each datagram"),
            test(
                "should be able to preserve UDP traffic when initial unready endpoints get ready",
                Whole(gets_ready),
            )
            .remark(never_reopened),
            test(
                "proxy implementation should not be vulnerable to the invalid conntrack state bug [Privileged]",
                Whole(invalid::out_of_window),
            ),
            test(
                "should be able to cleanup conntrack entries when UDP service target port changes for a NodePort service",
                Outside("about node ports, which are not served"),
            ),
        ],
    }
}

fn udp_service(case: &Case<'_>, more: Value) -> Result<Service> {
    let mut spec = json!({
        "ports": [{ "name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP" }],
    });
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    case.service("clients", spec)
}

/// A pod that answers datagrams, on a node.
fn server(case: &Case<'_>, name: &str, node: usize) -> Result<Pod> {
    case.pod(name).of("clients").on(node).serving(8080).ready()
}

fn cycles(case: &Case<'_>) -> Result<()> {
    let service = udp_service(case, json!({}))?;
    let client = case.client_on(1)?;
    let sockets = Sockets::open(&client, &service.at(80))?;
    sockets.send();
    let first = server(case, "backend-1", 2)?;
    sockets.reach(&first)?;
    let second = server(case, "backend-2", 2)?;
    case.delete_pod(&first)?;
    case.until_gone(&first)?;
    sockets.reach(&second)?;
    case.delete_pod(&second)?;
    case.until_gone(&second)?;
    sockets.reach_nobody()?;
    let third = server(case, "backend-3", 2)?;
    sockets.reach(&third)?;
    case.delete_service(&service.name)?;
    sockets.reach_nobody()?;
    let same = json!({ "clusterIP": service.addresses[0], "clusterIPs": service.addresses });
    udp_service(case, same)?;
    sockets.reach(&third)
}

fn cycles_locally(case: &Case<'_>) -> Result<()> {
    let service = udp_service(case, json!({ "internalTrafficPolicy": "Local" }))?;
    let client = case.client_on(1)?;
    let sockets = Sockets::open(&client, &service.at(80))?;
    sockets.send();
    let far = server(case, "far", 2)?;
    let first = server(case, "near-1", 1)?;
    sockets.reach(&first)?;
    case.delete_pod(&first)?;
    case.until_gone(&first)?;
    let second = server(case, "near-2", 1)?;
    sockets.reach(&second)?;
    case.client_on(2)?.reaches(Udp, &service.at(80), &[&far])
}

fn gets_ready(case: &Case<'_>) -> Result<()> {
    let service = udp_service(case, json!({}))?;
    let client = case.client_on(1)?;
    let sockets = Sockets::open(&client, &service.at(80))?;
    let sleep = json!({ "initContainers": [
        { "name": "wait", "image": "busybox", "command": ["sleep", "3"] },
    ]});
    let slow = case
        .pod("slow")
        .of("clients")
        .on(2)
        .serving(8080)
        .with(sleep);
    let pod = slow.running()?;
    let mut sent = 0;
    case.until("the pod to be ready under datagrams", || {
        sockets.send();
        sent += 1;
        let pod: k8s_openapi::api::core::v1::Pod = case.get("slow")?.context("it is gone")?;
        let ready = pod.status.and_then(|status| status.conditions);
        let ready = ready.unwrap_or_default();
        let ready = ready
            .iter()
            .any(|each| each.type_ == "Ready" && each.status == "True");
        Ok(ready.then_some(()))
    })?;
    anyhow::ensure!(sent > 1, "no datagram was sent before the pod was ready");
    sockets.reach(&pod)?;
    // A later client is no other.
    client.reaches(Udp, &service.at(80), &[&pod])?;
    client.cannot_reach(Http, &service.at(80))
}
