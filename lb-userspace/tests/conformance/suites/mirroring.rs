//! The list of `endpointslicemirroring.go`, and its bodies: Endpoints that a user writes, and the slices that the control
//! plane makes of them.

use anyhow::Result;
use k8s_openapi::api::core::v1::Endpoints;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::case::{Case, Pod};
use crate::suite::Port::Whole;
use crate::suite::{Suite, conformance, test};
use crate::traffic::Http;

pub fn suite() -> Suite {
    Suite {
        title: "EndpointSliceMirroring",
        file: "endpointslicemirroring.go",
        tests: vec![
            conformance(
                "should mirror a custom Endpoints resource through create update and delete",
                Whole(lifecycle),
            )
            .remark("and the Service follows, which upstream's test does not ask"),
            test(
                "should mirror a custom Endpoint with multiple subsets and same IP address",
                Whole(subsets),
            ),
        ],
    }
}

fn lifecycle(case: &Case<'_>) -> Result<()> {
    let ports = json!([{ "name": "http", "port": 80 }]);
    let custom = case.service("custom", json!({ "selector": null, "ports": ports }))?;
    let (first, second) = (server(case, "pod1")?, server(case, "pod2")?);
    let client = case.client()?;
    write(case, vec![subset(&first, "http", 8090)], false)?;
    client.reaches(Http, &custom.primary(80), &[&first])?;
    write(case, vec![subset(&second, "http", 9090)], true)?;
    client.reaches(Http, &custom.primary(80), &[&second])?;
    erase(case)?;
    client.is_refused(Http, &custom.primary(80))
}

fn subsets(case: &Case<'_>) -> Result<()> {
    let ports = json!([{ "name": "port80", "port": 80 }, { "name": "port81", "port": 81 }]);
    let custom = case.service("custom", json!({ "selector": null, "ports": ports }))?;
    let pod = server(case, "server")?;
    let subsets = vec![subset(&pod, "port80", 8090), subset(&pod, "port81", 9090)];
    write(case, subsets, false)?;
    let client = case.client()?;
    client.reaches(Http, &custom.primary(80), &[&pod])?;
    client.reaches(Http, &custom.primary(81), &[&pod])?;
    erase(case)?;
    case.until("the end of the slices", || {
        Ok(case.slices("custom")?.is_empty().then_some(()))
    })
}

/// A pod that answers at ports 8090 and 9090.
fn server(case: &Case<'_>, name: &str) -> Result<Pod> {
    let container = |port: u16| {
        let arguments = json!(["netexec", format!("--http-port={port}"), "--udp-port=-1"]);
        json!({ "name": format!("port-{port}"), "image": "agnhost", "args": arguments })
    };
    let containers = json!({ "containers": [container(8090), container(9090)] });
    case.pod(name).with(containers).ready()
}

/// Only one family can be mirrored from one object: that of the address.
fn subset(pod: &Pod, port: &str, target: u16) -> Value {
    json!({
        "addresses": [{ "ip": pod.addresses[0] }],
        "ports": [{ "name": port, "port": target, "protocol": "TCP" }],
    })
}

fn write(case: &Case<'_>, subsets: Vec<Value>, exists: bool) -> Result<()> {
    let written: Endpoints = match exists {
        true => case.change("custom", json!({ "subsets": subsets }))?,
        false => case.create(json!({ "metadata": { "name": "custom" }, "subsets": subsets }))?,
    };
    drop(written);
    Ok(())
}

fn erase(case: &Case<'_>) -> Result<()> {
    case.delete::<Endpoints>("custom", &DeleteParams::default())
}
