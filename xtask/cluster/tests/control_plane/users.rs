//! Who may do what.

use anyhow::Result;
use cluster::{ControlPlane, Identity};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, ListParams};

/// What the API server answers to a list of all Services.
async fn status_for(control_plane: &ControlPlane, identity: &Identity) -> Result<u16> {
    let services: Api<Service> = Api::all(control_plane.client_for(identity).await?);
    match services.list(&ListParams::default()).await {
        Ok(_) => Ok(200),
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(other) => Err(other.into()),
    }
}

#[tokio::test]
async fn a_service_account_may_do_what_its_role_says_and_nothing_before() -> Result<()> {
    let control_plane = ControlPlane::shared()?;
    let namespace = control_plane.create_namespace("accounts").await?;
    control_plane.kubectl(&["create", "serviceaccount", "reader", "-n", &namespace])?;
    let token = control_plane
        .service_account_token(&namespace, "reader")
        .await?;
    let bearer = Identity::Token(token);
    assert_eq!(status_for(control_plane, &bearer).await?, 403);
    control_plane.kubectl(&[
        "create",
        "clusterrolebinding",
        &namespace,
        "--clusterrole=view",
        &format!("--serviceaccount={namespace}:reader"),
    ])?;
    super::wait::wait_for("the role to count", async || {
        Ok((status_for(control_plane, &bearer).await? == 200).then_some(()))
    })
    .await
}

#[tokio::test]
async fn only_probes_are_answered_without_credentials() -> Result<()> {
    let control_plane = ControlPlane::shared()?;
    let ask = |path: &str| -> Result<String> {
        let mut curl = control_plane.netns().command("curl");
        let url = format!("https://{}{path}", control_plane.api_server_address());
        let output = curl
            .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url])
            .output()?;
        Ok(String::from_utf8(output.stdout)?)
    };
    for (path, status) in [
        ("/livez", "200"),
        ("/readyz", "200"),
        ("/api/v1/services", "401"),
        ("/version", "401"),
    ] {
        assert_eq!(ask(path)?, status, "{path}");
    }
    let nonsense = Identity::Token("nonsense".into());
    assert_eq!(status_for(control_plane, &nonsense).await?, 401);
    Ok(())
}

#[tokio::test]
async fn the_api_server_reports_the_version_that_the_module_pins() -> Result<()> {
    let version = ControlPlane::shared()?
        .client()
        .await?
        .apiserver_version()
        .await?
        .git_version;
    let module = include_str!("../../../control-plane/go.mod");
    assert!(
        module.contains(&format!("k8s.io/kubernetes {version}")),
        "{version}"
    );
    Ok(())
}
