//! The list of `pod_lifecycle.go`, and its bodies: pods that are being deleted, and readiness gates.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1;
use kube::api::Patch;
use lab::client::{Kind, Load, Options};
use serde_json::json;

use crate::case::{Case, PATIENCE, Pod};
use crate::suite::Port::Whole;
use crate::suite::{Suite, test};
use crate::traffic::Http;

const GATE: &str = "k8s.io/blue-green";

pub fn suite() -> Suite {
    Suite {
        title: "Connectivity Pod Lifecycle",
        file: "pod_lifecycle.go",
        tests: vec![
            test(
                "should be able to connect from a Pod to a terminating Pod",
                Whole(to_terminating),
            ),
            test(
                "should be able to connect to other Pod from a terminating Pod",
                Whole(from_terminating),
            ),
            test(
                "should be able to have zero downtime on a Blue Green deployment using Services and Readiness Gates",
                Whole(blue_green),
            )
            .remark("under a load without one failed request, which upstream's test does not ask"),
        ],
    }
}

fn to_terminating(case: &Case<'_>) -> Result<()> {
    let server = case.pod("server").serving(80).lingering(100).ready()?;
    let client = case.client()?;
    let at = server.addresses.map(|address| (address, 80).into());
    client.reaches(Http, &at, &[&server])?;
    delete(case, &server)?;
    client.reaches(Http, &at, &[&server])?;
    case.kill_pod(&server)
}

fn from_terminating(case: &Case<'_>) -> Result<()> {
    let server = case.pod("server").serving(80).ready()?;
    let client = case.pod("client").serving(80).lingering(100).ready()?;
    let at = server.addresses.map(|address| (address, 80).into());
    client.reaches(Http, &at, &[&server])?;
    delete(case, &client)?;
    client.reaches(Http, &at, &[&server])?;
    case.kill_pod(&client)
}

fn delete(case: &Case<'_>, pod: &Pod) -> Result<()> {
    case.delete_pod(pod)?;
    case.until("the pod to be told", || {
        let found: Option<v1::Pod> = case.get(&pod.name)?;
        let when = found.and_then(|pod| pod.metadata.deletion_timestamp);
        Ok(when.map(drop))
    })
}

fn blue_green(case: &Case<'_>) -> Result<()> {
    let service = case.tcp_service("web", 80, 8080)?;
    let gated = |name: &str, node| {
        let gates = json!({ "readinessGates": [{ "conditionType": GATE }] });
        let pod = case
            .pod(name)
            .of("web")
            .on(node)
            .serving(8080)
            .lingering(30);
        pod.with(gates).running()
    };
    let (blue, green) = (gated("blue", 1)?, gated("green", 2)?);
    case.until_ready(&blue.name, false)?;
    let client = case.client()?;
    client.is_refused(Http, &service.at(80))?;
    open_gate(case, &blue, true)?;
    client.reaches(Http, &service.at(80), &[&blue])?;
    let loads: Vec<Load> = service
        .at(80)
        .into_iter()
        .map(|to| Load::start_with(&client.netns, to, Kind::Http, 1, Options::default()))
        .collect::<Result<_>>()?;
    open_gate(case, &green, true)?;
    client.reaches(Http, &service.at(80), &[&blue, &green])?;
    open_gate(case, &blue, false)?;
    client.reaches(Http, &service.at(80), &[&green])?;
    for load in loads {
        load.wait_for_more(20, PATIENCE)?;
        let report = load.stop()?;
        ensure!(report.errors == 0, "{report}");
    }
    Ok(())
}

/// Sets the condition and waits until it shows in whether the pod is ready.
fn open_gate(case: &Case<'_>, pod: &Pod, open: bool) -> Result<()> {
    let status = if open { "True" } else { "False" };
    let patch = json!({ "status": { "conditions": [{ "type": GATE, "status": status }] } });
    case.change_status::<v1::Pod>(&pod.name, &Patch::Strategic(patch))?;
    case.until_ready(&pod.name, open)
}
