//! `internalTrafficPolicy: Local` from pods and from nodes (S-23).

use anyhow::Result;
use serde_json::json;

use crate::case::{Case, Service};
use crate::traffic::Http;

/// Of this host's network, so no other test may use it.
const HOST_PORT: u16 = 10180;
const TRIES: usize = 3;

fn local(case: &Case<'_>, target: u16) -> Result<Service> {
    case.service(
        "local",
        json!({
            "ports": [{ "name": "http", "port": 80, "targetPort": target }],
            "internalTrafficPolicy": "Local",
        }),
    )
}

pub fn pod_to_pod(case: &Case<'_>) -> Result<()> {
    let local = local(case, 8080)?;
    let server = case.pod("server").of("local").on(1).serving(8080).ready()?;
    let (near, far) = (case.client_on(1)?, case.client_on(2)?);
    for _ in 0..TRIES {
        near.reaches(Http, &local.at(80), &[&server])?;
        far.cannot_reach(Http, &local.at(80))?;
    }
    Ok(())
}

pub fn host_to_pod(case: &Case<'_>) -> Result<()> {
    let local = local(case, 8080)?;
    let server = case.pod("server").of("local").on(1).serving(8080).ready()?;
    let near = case.pod("near").on(1).on_host_network().ready()?;
    let far = case.pod("far").on(2).on_host_network().ready()?;
    for _ in 0..TRIES {
        near.reaches(Http, &local.at(80), &[&server])?;
        far.cannot_reach(Http, &local.at(80))?;
    }
    Ok(())
}

pub fn all_to_host(case: &Case<'_>) -> Result<()> {
    let local = local(case, HOST_PORT)?;
    let server = case.pod("server").of("local").on(1);
    let server = server.on_host_network().serving(HOST_PORT).ready()?;
    let (near, far) = (case.client_on(1)?, case.client_on(2)?);
    let near_host = case.pod("near").on(1).on_host_network().ready()?;
    let far_host = case.pod("far").on(2).on_host_network().ready()?;
    for _ in 0..TRIES {
        near.reaches(Http, &local.at(80), &[&server])?;
        far.cannot_reach(Http, &local.at(80))?;
        near_host.reaches(Http, &local.at(80), &[&server])?;
        far_host.cannot_reach(Http, &local.at(80))?;
    }
    Ok(())
}
