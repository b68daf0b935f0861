//! Pods that become endpoints and cease to be, and what they see of their clients (S-3, S-4, S-40, S-42).

use anyhow::{Result, ensure};
use serde_json::json;

use crate::case::Case;
use crate::traffic::Http;

pub fn basic(case: &Case<'_>) -> Result<()> {
    let web = case.tcp_service("web", 80, 8080)?;
    let client = case.client()?;
    let first = case.pod("pod1").of("web").serving(8080).ready()?;
    client.reaches(Http, &web.at(80), &[&first])?;
    let second = case.pod("pod2").of("web").serving(8080).ready()?;
    client.reaches(Http, &web.at(80), &[&first, &second])?;
    case.delete_pod(&first)?;
    client.reaches(Http, &web.at(80), &[&second])?;
    case.delete_pod(&second)?;
    client.is_refused(Http, &web.at(80))
}

pub fn source_address(case: &Case<'_>) -> Result<()> {
    let echo = case.tcp_service("echo", 8080, 8080)?;
    let server = case.pod("server").of("echo").on(1).serving(8080).ready()?;
    for node in [1, 2] {
        let client = case.client_on(node)?;
        client.reaches(Http, &echo.at(8080), &[&server])?;
        for to in echo.at(8080) {
            let seen = client.ask(Http, to)?.peer.ip();
            ensure!(
                client.addresses.contains(&seen),
                "{} was seen as {seen} through {to}",
                client.name
            );
        }
    }
    Ok(())
}

pub fn hairpin(case: &Case<'_>) -> Result<()> {
    let own = case.tcp_service("own", 8080, 8080)?;
    let pod = case.pod("hairpin").of("own").serving(8080).ready()?;
    pod.reaches(Http, &own.at(8080), &[&pod])
}

pub fn unready(case: &Case<'_>) -> Result<()> {
    let web = case.service(
        "web",
        json!({ "ports": [{ "port": 80, "targetPort": 80 }], "publishNotReadyAddresses": true }),
    )?;
    let never = json!({ "readinessProbe": { "exec": { "command": ["false"] } } });
    let slow = json!({ "lifecycle": { "preStop": { "exec": { "command": ["sleep", "60"] } } } });
    let pod = case.pod("unready").of("web").serving(80);
    let pod = pod.with_container(never).with_container(slow);
    let pod = pod.with(json!({ "terminationGracePeriodSeconds": 60 }));
    let pod = pod.running()?;
    let client = case.client()?;
    client.reaches(Http, &web.at(80), &[&pod])?;
    case.delete_pod(&pod)?;
    case.change_service("web", json!({ "publishNotReadyAddresses": false }))?;
    client.is_refused(Http, &web.at(80))?;
    case.change_service("web", json!({ "publishNotReadyAddresses": true }))?;
    client.reaches(Http, &web.at(80), &[&pod])?;
    case.kill_pod(&pod)
}
