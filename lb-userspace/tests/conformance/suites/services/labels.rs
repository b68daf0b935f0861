//! Labels that take a Service or a slice out of the proxy's hands, on objects that exist already (S-1).

use anyhow::Result;
use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use crate::case::{Case, Pod};
use crate::traffic::Http;

const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

pub fn service_proxy_name(case: &Case<'_>) -> Result<()> {
    let ports = json!({ "ports": [{ "port": 80, "targetPort": 9376 }] });
    let labels = json!({ PROXY_NAME: "foo-bar" });
    let disabled = case.labelled_service("disabled", labels.clone(), ports)?;
    let idle = case.servers("disabled", 3, 9376)?;
    let toggled = case.tcp_service("toggled", 80, 9376)?;
    let pods = case.servers("toggled", 3, 9376)?;
    let pods: Vec<&Pod> = pods.iter().collect();
    let client = case.client()?;
    client.reaches(Http, &toggled.at(80), &pods)?;
    client.cannot_reach(Http, &disabled.at(80))?;
    let label = |labels| {
        let patch = json!({ "metadata": { "labels": labels } });
        case.change::<v1::Service>("toggled", patch)
    };
    label(labels)?;
    client.cannot_reach(Http, &toggled.at(80))?;
    label(json!({ PROXY_NAME: null }))?;
    client.reaches(Http, &toggled.at(80), &pods)?;
    client.cannot_reach(Http, &disabled.at(80))?;
    // They would have answered.
    let direct = [(idle[0].addresses[0], 9376).into()];
    client.reaches(Http, &direct, &[&idle[0]])
}

pub fn headless(case: &Case<'_>) -> Result<()> {
    let custom = case.service(
        "custom",
        json!({ "ports": [{ "name": "port80", "port": 80 }], "selector": null }),
    )?;
    let server = case.pod("server").serving(8090).ready()?;
    let slices = case.publish("custom", &[&server], "port80", 8090)?;
    let client = case.client()?;
    client.reaches(Http, &custom.at(80), &[&server])?;
    let label = |value: Option<&str>| {
        slices.iter().try_for_each(|slice| {
            let labels = json!({ "service.kubernetes.io/headless": value });
            let patch = json!({ "metadata": { "labels": labels } });
            case.change::<EndpointSlice>(slice, patch).map(drop)
        })
    };
    label(Some(""))?;
    client.cannot_reach(Http, &custom.at(80))?;
    // What upstream's test does not ask: that it comes back.
    label(None)?;
    client.reaches(Http, &custom.at(80), &[&server])
}
