//! What the API server and its controllers make of objects.

use anyhow::{Context, Result};
use cluster::ControlPlane;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::wait::wait_for;

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: web},
    spec: {ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}";

#[tokio::test]
async fn a_service_gets_a_cluster_ip_of_each_family() -> Result<()> {
    let control_plane = ControlPlane::shared()?;
    let namespace = control_plane.create_namespace("dual-stack").await?;
    control_plane.apply(SERVICE, &namespace)?;
    let services: Api<Service> = Api::namespaced(control_plane.client().await?, &namespace);
    let spec = services.get("web").await?.spec.context("a spec")?;
    let addresses = spec.cluster_ips.unwrap_or_default();
    assert!(
        matches!(&addresses[..], [v4, v6] if v4.starts_with("10.96.") && v6.starts_with("fd00:10:96::")),
        "{addresses:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_ready_pod_becomes_an_endpoint_of_each_family() -> Result<()> {
    let control_plane = ControlPlane::shared()?;
    let namespace = control_plane.create_namespace("endpoints").await?;
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}},
        spec: {nodeName: somewhere, containers: [{name: web, image: none}]}}";
    // A pod on a node that does not exist is no endpoint.
    let addresses = ["192.168.50.9".parse()?, "fd00:50::9".parse()?];
    control_plane
        .add_node("somewhere", &[], &addresses, &[])
        .await?;
    control_plane.apply(&format!("{SERVICE}\n---\n{pod}"), &namespace)?;
    let client = control_plane.client().await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let status = json!({ "status": {
        "phase": "Running",
        "podIP": "10.244.1.2",
        "podIPs": [{ "ip": "10.244.1.2" }, { "ip": "fd00:10:244:1::2" }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    }});
    pods.patch_status("web", &PatchParams::default(), &Patch::Merge(&status))
        .await?;

    let slices: Api<EndpointSlice> = Api::namespaced(client, &namespace);
    let ready = wait_for("an endpoint of each family", async || {
        let slices = slices.list(&ListParams::default()).await?;
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        let ready = endpoints.filter(|endpoint| {
            endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                == Some(true)
        });
        let mut addresses: Vec<_> = ready
            .flat_map(|endpoint| endpoint.addresses.clone())
            .collect();
        addresses.sort();
        Ok((addresses.len() == 2).then_some(addresses))
    })
    .await?;
    assert_eq!(ready, ["10.244.1.2", "fd00:10:244:1::2"]);
    Ok(())
}

#[tokio::test]
async fn pods_of_a_deployment_and_a_daemon_set_are_bound_to_nodes() -> Result<()> {
    let control_plane = ControlPlane::shared()?;
    let namespace = control_plane.create_namespace("workloads").await?;
    for (name, number) in [("bound-a", 1), ("bound-b", 2)] {
        control_plane
            .add_node(
                name,
                &[("for", "bound")],
                &[format!("192.168.50.{number}").parse()?],
                &[format!("10.244.{number}.0/24")],
            )
            .await?;
    }
    let template = |app: &str| {
        json!({
            "metadata": { "labels": { "app": app } },
            "spec": { "nodeSelector": { "for": "bound" }, "containers": [{ "name": "c", "image": "none" }] },
        })
    };
    for (kind, more) in [
        ("Deployment", json!({ "replicas": 3 })),
        ("DaemonSet", json!({})),
    ] {
        let mut spec = more;
        spec["selector"] = json!({ "matchLabels": { "app": kind } });
        spec["template"] = template(kind);
        let name = kind.to_lowercase();
        let object = json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name }, "spec": spec });
        control_plane.apply(&object.to_string(), &namespace)?;
    }
    let pods: Api<Pod> = Api::namespaced(control_plane.client().await?, &namespace);
    let bound = async |kind: &str, count: usize| {
        let parameters = ListParams::default().labels(&format!("app={kind}"));
        wait_for(&format!("{count} bound pods of a {kind}"), async || {
            let pods = pods.list(&parameters).await?;
            let nodes = pods
                .iter()
                .filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
            let mut nodes: Vec<String> = nodes.collect();
            nodes.sort();
            Ok((nodes.len() == count).then_some(nodes))
        })
        .await
    };
    assert_eq!(bound("DaemonSet", 2).await?, ["bound-a", "bound-b"]);
    bound("Deployment", 3).await?;
    let owners = pods
        .list(&ListParams::default().labels("app=Deployment"))
        .await?;
    for pod in owners {
        assert_eq!(pod.owner_references()[0].kind, "ReplicaSet");
    }
    Ok(())
}
