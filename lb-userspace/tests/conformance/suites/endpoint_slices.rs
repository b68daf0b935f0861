//! The list of `endpointslice.go`, and its bodies: slices that the control plane makes, and those that users write.

use anyhow::{Result, ensure};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DeleteParams;
use serde_json::json;

use crate::case::{Case, sockets};
use crate::suite::Port::{Outside, Whole};
use crate::suite::{Suite, conformance};
use crate::traffic::Http;

pub fn suite() -> Suite {
    Suite {
        title: "EndpointSlice",
        file: "endpointslice.go",
        tests: vec![
            conformance(
                "should create and delete EndpointSlices for a Service with a selector that matches no pods",
                Whole(no_pods),
            ),
            conformance(
                "should create Endpoints and EndpointSlices for Pods matching a Service",
                Whole(matching_pods),
            )
            .remark("and the Services are reached, which upstream's test does not ask"),
            conformance(
                "should support creating EndpointSlice API operations",
                Outside("about the API server alone"),
            ),
            conformance(
                "should support a Service with multiple ports specified in multiple EndpointSlices",
                Whole(ports_in_slices),
            ),
            conformance(
                "should support a Service with multiple endpoint IPs specified in multiple EndpointSlices",
                Whole(addresses_in_slices),
            ),
        ],
    }
}

fn no_pods(case: &Case<'_>) -> Result<()> {
    let empty = case.tcp_service("empty", 80, 80)?;
    let slices = |wanted: &str, are: fn(usize) -> bool| {
        case.until(
            wanted,
            || Ok(are(case.slices("empty")?.len()).then_some(())),
        )
    };
    slices("slices without endpoints", |count| count > 0)?;
    case.until_endpoints("empty", &Default::default())?;
    let client = case.client()?;
    client.is_refused(Http, &empty.at(80))?;
    case.delete_service("empty")?;
    slices("the end of the slices", |count| count == 0)?;
    client.cannot_reach(Http, &empty.at(80))
}

fn matching_pods(case: &Case<'_>) -> Result<()> {
    let first = case
        .pod("pod1")
        .labelled(json!({ "pod1": "on", "shared": "on" }));
    let first = first
        .serving(3000)
        .port("example-name", 3000, "TCP")
        .ready()?;
    let second = case
        .pod("pod2")
        .labelled(json!({ "pod2": "on", "shared": "on" }));
    let second = second.serving(3001).port("example-name", 3001, "TCP");
    let second = second.port("other-port", 3002, "TCP").ready()?;
    let one = case.service(
        "one",
        json!({
            "selector": { "pod1": "on" },
            "ports": [{ "name": "example", "port": 80, "targetPort": 3000 }],
        }),
    )?;
    let both = case.service(
        "both",
        json!({
            "selector": { "shared": "on" },
            "ports": [{ "name": "http", "port": 80, "targetPort": "example-name" }],
        }),
    )?;
    let all = sockets(&[(&first, 3000), (&second, 3001)]);
    case.until_endpoints("one", &sockets(&[(&first, 3000)]))?;
    case.until_endpoints("both", &all)?;
    let slices = case.slices("both")?;
    ensure!(
        slices.len() == 4,
        "{} slices for two port numbers and two families",
        slices.len()
    );
    for slice in slices {
        let name = slice.metadata.name.unwrap_or_default();
        case.delete::<EndpointSlice>(&name, &DeleteParams::default())?;
    }
    case.until_endpoints("both", &all)?;
    let client = case.client()?;
    client.reaches(Http, &one.at(80), &[&first])?;
    client.reaches(Http, &both.at(80), &[&first, &second])
}

fn ports_in_slices(case: &Case<'_>) -> Result<()> {
    let custom = case.service("custom", two_ports())?;
    let second = json!({ "name": "second", "image": "agnhost",
        "args": ["netexec", "--http-port=9090", "--udp-port=-1"] });
    let first = json!({ "name": "first", "image": "agnhost",
        "args": ["netexec", "--http-port=8090", "--udp-port=-1"] });
    let pod = case
        .pod("server")
        .with(json!({ "containers": [first, second] }));
    let pod = pod.ready()?;
    case.publish("custom", &[&pod], "port80", 8090)?;
    case.publish("custom", &[&pod], "port81", 9090)?;
    let client = case.client()?;
    client.reaches(Http, &custom.at(80), &[&pod])?;
    client.reaches(Http, &custom.at(81), &[&pod])
}

fn addresses_in_slices(case: &Case<'_>) -> Result<()> {
    let custom = case.service("custom", two_ports())?;
    let first = case.pod("pod1").serving(8090).ready()?;
    let second = case.pod("pod2").serving(8090).ready()?;
    case.publish("custom", &[&first], "port80", 8090)?;
    case.publish("custom", &[&second], "port81", 8090)?;
    let client = case.client()?;
    client.reaches(Http, &custom.at(80), &[&first])?;
    client.reaches(Http, &custom.at(81), &[&second])
}

fn two_ports() -> serde_json::Value {
    json!({
        "selector": null,
        "ports": [{ "name": "port80", "port": 80 }, { "name": "port81", "port": 81 }],
    })
}
