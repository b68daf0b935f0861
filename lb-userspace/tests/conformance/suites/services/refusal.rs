//! Services without endpoints refuse at once (S-30).

use anyhow::Result;
use k8s_openapi::api::core::v1;
use kube::api::Patch;
use serde_json::json;

use crate::case::Case;
use crate::traffic::Http;

pub fn no_endpoints(case: &Case<'_>) -> Result<()> {
    let empty = case.tcp_service("empty", 80, 80)?;
    case.client_on(1)?.is_refused(Http, &empty.at(80))
}

pub fn evicted(case: &Case<'_>) -> Result<()> {
    let service = case.service(
        "evicted",
        json!({ "ports": [{ "port": 80, "targetPort": 80 }], "publishNotReadyAddresses": true }),
    )?;
    let pod = case
        .pod("evicted")
        .of("evicted")
        .on(1)
        .serving(80)
        .ready()?;
    let client = case.client_on(1)?;
    client.reaches(Http, &service.at(80), &[&pod])?;
    let status = json!({ "status": {
        "phase": "Failed",
        "reason": "Evicted",
        "message": "The node was low on resource: ephemeral-storage.",
    }});
    case.change_status::<v1::Pod>(&pod.name, &Patch::Merge(status))?;
    client.is_refused(Http, &service.at(80))
}
