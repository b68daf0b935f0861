//! A control plane whose parts stop and come back.

use anyhow::{Context, Result};
use cluster::{ControlPlane, Options};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};

use futures::StreamExt;

fn named(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

#[tokio::test]
async fn objects_outlive_the_api_server_and_old_watches_are_gone_after_a_compaction() -> Result<()>
{
    let control_plane = ControlPlane::start(Options::default())?;
    let namespace = control_plane.create_namespace("restart").await?;
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client().await?, &namespace);
    let first = maps.create(&PostParams::default(), &named("first")).await?;
    let old = first.metadata.resource_version.context("a version")?;
    maps.create(&PostParams::default(), &named("second"))
        .await?;

    control_plane.compact_etcd()?;
    control_plane.restart_api_server()?;
    assert!(maps.get_opt("first").await?.is_some());

    let mut events = maps.watch(&WatchParams::default(), &old).await?.boxed();
    let told = events.next().await.context("an event")?;
    let code = match told {
        Ok(WatchEvent::Error(status)) => status.code,
        Err(kube::Error::Api(status)) => status.code,
        other => anyhow::bail!("{other:?}"),
    };
    assert_eq!(code, 410);

    control_plane.kill_api_server()?;
    assert!(maps.list(&ListParams::default()).await.is_err());
    control_plane.start_api_server()?;
    assert!(maps.get_opt("second").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_new_control_plane_on_an_old_etcd_directory_has_its_objects() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let options = Options {
        etcd_directory: Some(directory.path().to_path_buf()),
        ..Options::default()
    };
    let control_plane = ControlPlane::start(options.clone())?;
    let kept = control_plane.create_namespace("kept").await?;
    control_plane.stop()?;
    drop(control_plane);

    let control_plane = ControlPlane::start(options)?;
    let namespaces: Api<Namespace> = Api::all(control_plane.client().await?);
    assert!(namespaces.get_opt(&kept).await?.is_some());
    // Pods get tokens that the new keys sign.
    control_plane
        .service_account_token(&kept, "default")
        .await
        .map(drop)
}
