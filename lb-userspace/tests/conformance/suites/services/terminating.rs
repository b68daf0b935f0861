//! Endpoints whose pods are being deleted (S-22).

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1;
use serde_json::{Value, json};

use crate::case::{Case, Pod, Service};
use crate::traffic::Http;

/// As long as no test takes.
const GRACE: u32 = 100;
/// How long a state is watched.
const WHILE: Duration = Duration::from_secs(3);

pub fn published(case: &Case<'_>) -> Result<()> {
    let (service, pod, client) = unready_when_told_to_end(case, true)?;
    case.delete_pod(&pod)?;
    case.until_ready(&pod.name, false)?;
    for_a_while(|| client.reaches(Http, &service.at(80), &[&pod]))?;
    case.kill_pod(&pod)
}

pub fn not_published(case: &Case<'_>) -> Result<()> {
    let (service, pod, client) = unready_when_told_to_end(case, false)?;
    case.delete_pod(&pod)?;
    case.until_ready(&pod.name, false)?;
    for_a_while(|| client.is_refused(Http, &service.at(80)))?;
    case.kill_pod(&pod)
}

pub fn fallback(case: &Case<'_>) -> Result<()> {
    let (service, pod, near, far) = terminating(case, "Cluster")?;
    for_a_while(|| {
        near.reaches(Http, &service.at(80), &[&pod])?;
        far.reaches(Http, &service.at(80), &[&pod])
    })?;
    case.kill_pod(&pod)
}

pub fn local_fallback(case: &Case<'_>) -> Result<()> {
    let (service, pod, near, far) = terminating(case, "Local")?;
    for_a_while(|| {
        near.reaches(Http, &service.at(80), &[&pod])?;
        far.cannot_reach(Http, &service.at(80))
    })?;
    case.kill_pod(&pod)
}

/// A Service whose only pod, on another node than the client, answers until it is killed, but says that it is not ready
/// once it is told to end.
fn unready_when_told_to_end(case: &Case<'_>, published: bool) -> Result<(Service, Pod, Pod)> {
    let service = case.service(
        "web",
        json!({
            "type": "NodePort",
            "ports": [{ "name": "http", "port": 80, "targetPort": 80 }],
            "publishNotReadyAddresses": published,
        }),
    )?;
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": 80 }, "periodSeconds": 1 });
    let probes: Value = json!({
        "readinessProbe": probe("/readyz"),
        "livenessProbe": probe("/healthz"),
    });
    let pod = case.pod("webserver").of("web").on(1).serving(80);
    let pod = pod.with_container(probes).lingering(GRACE).ready()?;
    let client = case.client_on(2)?;
    client.reaches(Http, &service.at(80), &[&pod])?;
    Ok((service, pod, client))
}

/// A Service whose only pod is being deleted and goes on, and clients on its node and on another.
fn terminating(case: &Case<'_>, policy: &str) -> Result<(Service, Pod, Pod, Pod)> {
    let service = case.service(
        "web",
        json!({
            "ports": [{ "name": "http", "port": 80, "targetPort": 80 }],
            "internalTrafficPolicy": policy,
        }),
    )?;
    let pod = case.pod("webserver").of("web").on(1).serving(80);
    let pod = pod.lingering(GRACE).ready()?;
    let (near, far) = (case.client_on(1)?, case.client_on(2)?);
    near.reaches(Http, &service.at(80), &[&pod])?;
    case.delete_pod(&pod)?;
    case.until("the pod to be told", || {
        let object = case.get::<v1::Pod>(&pod.name)?.context("it is gone")?;
        Ok(object.metadata.deletion_timestamp.map(drop))
    })?;
    Ok((service, pod, near, far))
}

fn for_a_while(check: impl Fn() -> Result<()>) -> Result<()> {
    let end = Instant::now() + WHILE;
    while Instant::now() < end {
        check()?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
