//! The control plane behaves as a cluster's does. Each test has a Kubernetes namespace of its own; those that stop a part
//! of the control plane have one of their own.

lab::sandbox!();

use anyhow::Result;
use cluster::ControlPlane;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;

#[tokio::test]
async fn a_service_gets_a_cluster_ip_of_each_family() -> Result<()> {
    let control_plane = ControlPlane::shared()?;
    let namespace = control_plane.create_namespace("dual-stack").await?;
    let manifest = "{apiVersion: v1, kind: Service, metadata: {name: web},
        spec: {ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}}";
    control_plane.apply(manifest, &namespace)?;
    let services: Api<Service> = Api::namespaced(control_plane.client().await?, &namespace);
    let addresses = services
        .get("web")
        .await?
        .spec
        .and_then(|spec| spec.cluster_ips);
    let addresses = addresses.unwrap_or_default();
    assert!(
        matches!(&addresses[..], [v4, v6] if v4.starts_with("10.96.") && v6.starts_with("fd00:10:96::")),
        "{addresses:?}"
    );
    Ok(())
}
