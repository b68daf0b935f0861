//! A cluster full of Services, made once for each size: the API server takes its time, so etcd's directory is kept.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use cluster::{ControlPlane, Options};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;
use tokio::runtime::Runtime;

/// The Kubernetes namespace of all Services.
pub const NAMESPACE: &str = "default";
/// Endpoints of each Service.
pub const ENDPOINTS: u32 = 3;
/// Bumped when what is made here changes.
const EDITION: u32 = 1;
/// Requests at the same time.
const AT_ONCE: usize = 64;
const TELL_EVERY: u32 = 1000;

/// An etcd directory with so many Services, which is not to be written to. Makes it if there is none.
///
/// # Errors
/// When the control plane does not come up or refuses an object.
pub fn data(keep: &Path, services: u32, runtime: &Runtime) -> Result<PathBuf> {
    let kept = keep.join(format!("etcd-{services}-{EDITION}"));
    if kept.is_dir() {
        return Ok(kept);
    }
    println!("==> create {services} Services with {ENDPOINTS} endpoints each, once");
    let start = Instant::now();
    let unfinished = keep.join(format!("etcd-{services}-unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| unfinished.display().to_string())?;
    }
    fs::create_dir_all(&unfinished).with_context(|| unfinished.display().to_string())?;
    let control_plane = ControlPlane::start(Options {
        etcd_directory: Some(unfinished.clone()),
        ..Options::default()
    })?;
    runtime.block_on(create(&control_plane, services))?;
    control_plane.stop()?;
    drop(control_plane);
    fs::rename(&unfinished, &kept)?;
    println!("    done in {:.0} s", start.elapsed().as_secs_f64());
    Ok(kept)
}

/// Fails unless an API server has as many Services as [`data`] made in this directory, and its own: what is measured is what the
/// document says.
///
/// # Errors
/// Then, with what to do, and when the API server does not answer.
pub async fn assert_holds(client: &Client, services: u32, data: &Path) -> Result<()> {
    let all: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let first = all.list_metadata(&ListParams::default().limit(1)).await?;
    let others = first.metadata.remaining_item_count.unwrap_or(0);
    let found = first.items.len() as i64 + others;
    // The last one is `kubernetes`.
    let expected = i64::from(services) + 1;
    ensure!(
        found == expected,
        "{} has {found} Services instead of {expected}: remove it, and run again",
        data.display()
    );
    Ok(())
}

/// The name of a Service, and of its slice.
pub fn name(number: u32) -> String {
    format!("service-{number:05}")
}

/// The address of an endpoint of a Service. Nobody has it. `edition` is 0 until something changes.
pub fn address(number: u32, endpoint: u32, edition: u32) -> Ipv4Addr {
    let index = number * ENDPOINTS + endpoint;
    Ipv4Addr::from(0x0b00_0000 | (edition & 1) << 22 | index)
}

/// The endpoints of a Service as they stand in its slice; those of another edition have a different first one.
pub fn endpoints(number: u32, edition: u32) -> serde_json::Value {
    let endpoint = |index: u32| {
        let edition = if index == 0 { edition } else { 0 };
        json!({
            "addresses": [address(number, index, edition)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("other-{}", index % 50),
            "targetRef": {
                "kind": "Pod", "namespace": NAMESPACE, "name": format!("{}-{index}", name(number)),
                "uid": format!("00000000-0000-4000-8000-{:012}", number * ENDPOINTS + index),
            },
        })
    };
    (0..ENDPOINTS).map(endpoint).collect()
}

async fn create(control_plane: &ControlPlane, services: u32) -> Result<()> {
    ensure!(
        services * ENDPOINTS < 1 << 22,
        "more than a million Services have no addresses here"
    );
    let client = control_plane.client().await?;
    let requests = stream::iter(0..services).map(|number| create_one(&client, number));
    let mut done = 0;
    let mut pending = requests.buffer_unordered(AT_ONCE);
    while pending.try_next().await?.is_some() {
        done += 1;
        if done % TELL_EVERY == 0 {
            println!("    {done} of {services}");
        }
    }
    Ok(())
}

async fn create_one(client: &Client, number: u32) -> Result<()> {
    let name = name(number);
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": name}},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }))?;
    let slice: EndpointSlice = serde_json::from_value(slice(&name, &endpoints(number, 0)))?;
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let how = PostParams::default();
    services
        .create(&how, &service)
        .await
        .with_context(|| format!("cannot create the Service {name}"))?;
    slices
        .create(&how, &slice)
        .await
        .with_context(|| format!("cannot create the EndpointSlice {name}"))?;
    Ok(())
}

/// An EndpointSlice as the control plane makes one.
pub fn slice(service: &str, endpoints: &serde_json::Value) -> serde_json::Value {
    json!({
        "metadata": {
            "name": service,
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "bench",
                "app.kubernetes.io/name": service,
            },
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}
