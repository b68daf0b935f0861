//! Session affinity (S-25 to S-28).

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::case::{Case, Pod, Service};
use crate::traffic::Http;

const TIMEOUT: Duration = Duration::from_secs(2);

/// A Service with three pods, and a client that has reached it.
fn start(case: &Case<'_>, affinity: Value) -> Result<(Service, Pod)> {
    let mut spec = json!({ "ports": [{ "port": 80, "targetPort": 9376 }] });
    if let (Value::Object(spec), Value::Object(affinity)) = (&mut spec, affinity) {
        spec.extend(affinity);
    }
    let service = case.service("affinity", spec)?;
    case.servers("affinity", 3, 9376)?;
    let client = case.client()?;
    for to in service.at(80) {
        let what = "the Service to answer";
        case.until(what, || Ok(Some(client.answers(Http, to, 1)?)))?;
    }
    Ok((service, client))
}

pub fn works(case: &Case<'_>) -> Result<()> {
    let (service, client) = start(case, json!({ "sessionAffinity": "ClientIP" }))?;
    client.sticks(Http, &service.at(80))
}

pub fn times_out(case: &Case<'_>) -> Result<()> {
    let affinity = json!({
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": TIMEOUT.as_secs() } },
    });
    let (service, client) = start(case, affinity)?;
    client.sticks(Http, &service.at(80))?;
    for to in service.at(80) {
        let mut answered = client.answers(Http, to, 1)?;
        for _ in 0..10 {
            // The time itself is what is tested.
            thread::sleep(TIMEOUT + Duration::from_millis(500));
            answered.extend(client.answers(Http, to, 1)?);
            if answered.len() > 1 {
                break;
            }
        }
        if answered.len() == 1 {
            bail!("{to} sticks to {answered:?} after its time");
        }
    }
    Ok(())
}

pub fn switches(case: &Case<'_>) -> Result<()> {
    let (service, client) = start(case, json!({ "sessionAffinity": "ClientIP" }))?;
    client.sticks(Http, &service.at(80))?;
    case.change_service("affinity", json!({ "sessionAffinity": "None" }))?;
    client.wanders(Http, &service.at(80))?;
    case.change_service("affinity", json!({ "sessionAffinity": "ClientIP" }))?;
    client.sticks(Http, &service.at(80))
}
