//! The Node object: created or taken over, ready, and free of the taint that every new Node has. It has no lease and is
//! not told anything again.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// Registers a node of the lab under `name`.
///
/// # Errors
/// When the API refuses or does not answer.
pub(super) async fn register(
    client: Client,
    node: &lab::Node,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<()> {
    let nodes: Api<Node> = Api::all(client);
    let mut all = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), name.to_owned()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), architecture().to_owned()),
    ]);
    all.extend(labels.clone());
    let ranges = node.pod_cidrs();
    let object = serde_json::from_value(json!({
        "metadata": { "name": name, "labels": all },
        "spec": { "podCIDR": ranges[0], "podCIDRs": ranges },
    }))?;
    match nodes.create(&PostParams::default(), &object).await {
        Ok(_) => {}
        Err(kube::Error::Api(answer)) if answer.code == 409 => {}
        Err(error) => return Err(error).with_context(|| format!("cannot create the node {name}")),
    }
    let merge = PatchParams::default();
    let status = Patch::Merge(json!({ "status": status(node, name) }));
    nodes.patch_status(name, &merge, &status).await?;
    let rest = json!({ "metadata": { "labels": all }, "spec": { "taints": null } });
    nodes.patch(name, &merge, &Patch::Merge(rest)).await?;
    Ok(())
}

fn status(node: &lab::Node, name: &str) -> Value {
    let [v4, v6] = node.addresses();
    let room = json!({ "cpu": "64", "memory": "64Gi", "ephemeral-storage": "64Gi", "pods": "150" });
    let condition = |kind: &str, status: &str| {
        json!({ "type": kind, "status": status, "reason": "Lab", "message": "a namespace",
                "lastTransitionTime": k8s_openapi::jiff::Timestamp::now().to_string() })
    };
    json!({
        "addresses": [
            { "type": "InternalIP", "address": v4 },
            { "type": "InternalIP", "address": v6 },
            { "type": "Hostname", "address": name },
        ],
        "capacity": room,
        "allocatable": room,
        "conditions": [
            condition("Ready", "True"),
            condition("MemoryPressure", "False"),
            condition("DiskPressure", "False"),
            condition("PIDPressure", "False"),
        ],
    })
}

/// As Go spells it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
