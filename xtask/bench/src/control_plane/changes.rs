//! Changes of endpoints: one that is awaited, and many that are not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::fill::{self, NAMESPACE};

/// Gives a Service other endpoints, and returns when the API server has them.
///
/// # Errors
/// When it refuses them.
pub async fn set_endpoints(
    client: &Client,
    service: &str,
    endpoints: &serde_json::Value,
) -> Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = json!({ "endpoints": endpoints });
    slices
        .patch(service, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .with_context(|| format!("cannot change the endpoints of {service}"))?;
    Ok(())
}

/// Changes one endpoint of one Service after the other, `per_second` of them, until told to stop. Returns how many.
///
/// # Errors
/// When the API server refuses one.
pub async fn churn(
    client: &Client,
    services: u32,
    per_second: u32,
    stop: &AtomicBool,
) -> Result<u64> {
    // Goes on where the last one stopped, so that each change is one.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut ticks = interval(Duration::from_secs(1) / per_second.max(1));
    // A slow answer must not lower the rate.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = JoinSet::new();
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        if per_second == 0 {
            continue;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // All over the range, each once before the first comes again.
        let number = ((count % u64::from(services)) * 7919 % u64::from(services)) as u32;
        let edition = (count / u64::from(services) + 1) as u32;
        let client = client.clone();
        requests.spawn(async move {
            let endpoints = fill::endpoints(number, edition);
            set_endpoints(&client, &fill::name(number), &endpoints).await
        });
        done += 1;
        while let Some(outcome) = requests.try_join_next() {
            outcome??;
        }
    }
    while let Some(outcome) = requests.join_next().await {
        outcome??;
    }
    Ok(done)
}
