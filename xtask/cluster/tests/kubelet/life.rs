//! The phases of a pod: starting, failing, being started again, ending.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams};
use lab::client;
use serde_json::json;

use super::site::{Site, condition, phase, wait_for};

const SHELL: &str = "image: busybox, command: [sh, -c]";

#[tokio::test]
async fn a_pod_is_ready_well_within_a_second() -> Result<()> {
    let site = Site::new("quick").await?;
    let object = serde_json::from_value(json!({
        "metadata": { "name": "web" },
        "spec": { "nodeName": site.node, "containers": [
            { "name": "web", "image": "agnhost", "args": ["netexec"], "readinessProbe": { "httpGet": { "port": 8080 } } },
        ]},
    }))?;
    let begin = Instant::now();
    site.pods().create(&Default::default(), &object).await?;
    let status = site.wait_until_ready("web").await?;
    let took = begin.elapsed();
    println!("ready {took:?} after its creation");
    // Usually a fifth of it; other tests run beside it.
    assert!(took < Duration::from_secs(3), "{took:?}");
    for kind in [
        "PodScheduled",
        "PodReadyToStartContainers",
        "Initialized",
        "ContainersReady",
    ] {
        assert_eq!(condition(&status, kind), "True", "{kind}");
    }
    assert_eq!(phase(&status), "Running");
    Ok(())
}

#[tokio::test]
async fn a_pod_that_somebody_declares_failed_stops_and_stays_failed() -> Result<()> {
    let site = Site::new("failed").await?;
    site.run("web", "image: agnhost, args: [netexec]")?;
    site.wait_until_ready("web").await?;
    let place = site.kubelet.place(&site.namespace, "web")?;
    let failed = json!({ "status": { "phase": "Failed", "reason": "Evicted" } });
    site.pods()
        .patch_status("web", &PatchParams::default(), &Patch::Merge(failed))
        .await?;
    let ended = |status: &PodStatus| {
        container(status).is_some_and(|main| {
            main.state
                .as_ref()
                .is_some_and(|state| state.terminated.is_some())
        })
    };
    let status = site
        .wait_for_status("web", "its container to end", ended)
        .await?;
    assert_eq!(
        (phase(&status), condition(&status, "Ready")),
        ("Failed", "False")
    );
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    wait_for("its namespace to go", async || {
        Ok((!place.netns.path().exists()).then_some(()))
    })
    .await?;
    site.pods().delete("web", &DeleteParams::default()).await?;
    wait_until_gone(&site, "web").await
}

#[tokio::test]
async fn a_program_that_fails_is_started_again_and_one_that_succeeds_may_end() -> Result<()> {
    let site = Site::new("restarts").await?;
    site.run("always", &format!("{SHELL}, args: ['echo run; exit 3']"))?;
    let again = |status: &PodStatus| container(status).is_some_and(|main| main.restart_count >= 2);
    let status = site
        .wait_for_status("always", "two restarts", again)
        .await?;
    let last = container(&status).and_then(|main| main.last_state.clone()?.terminated);
    assert_eq!(last.context("an end")?.exit_code, 3);
    assert!(site.logs("always")?.lines().count() >= 3);

    for (policy, code, expected) in [
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
        ("OnFailure", 0, "Succeeded"),
    ] {
        let pod = format!("{}-{code}", policy.to_lowercase());
        let container = format!("{SHELL}, args: ['exit {code}']");
        site.run_with(&pod, &container, &format!("restartPolicy: {policy}"))?;
        assert_eq!(site.wait_until_over(&pod).await?, expected, "{pod}");
    }
    Ok(())
}

#[tokio::test]
async fn a_failing_liveness_probe_starts_a_container_again() -> Result<()> {
    let site = Site::new("liveness").await?;
    // Healthy on its first run only for as long as its file is there.
    let container = "image: busybox, command: [sh, -c, 'touch /mnt/alive; trap \"exit 0\" TERM; while :; do sleep 0.1; done'], \
                     volumeMounts: [{name: state, mountPath: /mnt}], \
                     livenessProbe: {exec: {command: [test, -e, /mnt/alive]}, periodSeconds: 1, failureThreshold: 1}, \
                     startupProbe: {exec: {command: [rm, /mnt/alive]}}";
    site.run_with("web", container, "volumes: [{name: state, emptyDir: {}}]")?;
    let again = |status: &PodStatus| container_restarts(status) >= 1;
    site.wait_for_status("web", "a restart", again).await?;
    Ok(())
}

#[tokio::test]
async fn init_containers_and_sidecars_come_before_the_main_one() -> Result<()> {
    let site = Site::new("inits").await?;
    let inits = "initContainers: [
        {name: first, image: busybox, command: [sh, -c, 'echo first >> /mnt/order'], volumeMounts: [{name: order, mountPath: /mnt}]},
        {name: side, image: agnhost, args: [netexec, --http-port=9090, --udp-port=-1], restartPolicy: Always,
         startupProbe: {httpGet: {port: 9090}, periodSeconds: 1}}], volumes: [{name: order, emptyDir: {}}]";
    let main = "image: agnhost, args: [netexec], volumeMounts: [{name: order, mountPath: /mnt}]";
    site.run_with("web", main, inits)?;
    let status = site.wait_until_ready("web").await?;
    let inits = status.init_container_statuses.unwrap_or_default();
    let ready: Vec<bool> = inits.iter().map(|init| init.ready).collect();
    assert_eq!(ready, [true, true]);
    let place = site.kubelet.place(&site.namespace, "web")?;
    let client = site.lab.node(1).add_pod("client")?;
    for port in [8080, 9090] {
        let answer = client::http_get(&client.netns, (place.addresses[0], port).into())?;
        assert_eq!(answer.pod, "web", "port {port}");
    }

    let failing = "restartPolicy: Never, initContainers: [{name: first, image: busybox, command: [sh, -c, 'exit 1']}]";
    site.run_with("broken", "image: agnhost", failing)?;
    assert_eq!(site.wait_until_over("broken").await?, "Failed");
    Ok(())
}

#[tokio::test]
async fn a_real_server_runs_in_a_pod_and_ends_when_it_is_asked() -> Result<()> {
    let site = Site::new("nginx").await?;
    site.run(
        "web",
        "image: nginx, readinessProbe: {httpGet: {port: 80}}, \
                     lifecycle: {preStop: {exec: {command: [sh, -c, 'echo before the end']}}}",
    )?;
    site.wait_until_ready("web").await?;
    let place = site.kubelet.place(&site.namespace, "web")?;
    let client = site.lab.node(1).add_pod("client")?;
    for address in place.addresses {
        let answer = client::raw_get(&client.netns, (address, 80).into(), "/")?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let begin = Instant::now();
    site.pods().delete("web", &DeleteParams::default()).await?;
    wait_until_gone(&site, "web").await?;
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "it did not wait for its whole time"
    );
    assert!(
        site.logs("web")?.ends_with("before the end\n"),
        "{}",
        site.logs("web")?
    );
    Ok(())
}

#[tokio::test]
async fn a_pod_may_be_replaced_by_one_of_the_same_name_at_once() -> Result<()> {
    let site = Site::new("replaced").await?;
    let container = "image: agnhost, args: [netexec, --delay-shutdown=60]";
    site.run("web", container)?;
    let before = site.wait_until_ready("web").await?;
    let now = DeleteParams::default().grace_period(0);
    site.pods().delete("web", &now).await?;
    site.run("web", container)?;
    let after = site.wait_until_ready("web").await?;
    assert_ne!(before.pod_ip, after.pod_ip);
    let place = site.kubelet.place(&site.namespace, "web")?;
    assert_eq!(Some(place.addresses[0].to_string()), after.pod_ip);
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_kubelet_is_the_end_of_its_pods() -> Result<()> {
    let site = Site::new("node-end").await?;
    let sleep = format!("{SHELL}, args: ['sleep 1000 & exec sleep 1000']");
    site.run("own", &sleep)?;
    site.run_with("host", &sleep, "hostNetwork: true")?;
    site.wait_until_ready("own").await?;
    site.wait_until_ready("host").await?;
    let place = site.kubelet.place(&site.namespace, "own")?;
    let node = site.lab.node(1).netns.clone();
    let processes = || -> Result<String> {
        let output = std::process::Command::new("ip")
            .args(["netns", "pids", node.name()])
            .output()?;
        Ok(String::from_utf8(output.stdout)?)
    };
    assert_eq!(
        processes()?.lines().count(),
        2,
        "both are in the node's namespace"
    );
    drop(site.kubelet);
    assert!(!place.netns.path().exists());
    assert_eq!(processes()?, "");
    let told = Site::pods_of(&site.client, &site.namespace)
        .get("own")
        .await?;
    assert_eq!(
        told.status.unwrap_or_default().phase.as_deref(),
        Some("Running")
    );
    Ok(())
}

#[tokio::test]
async fn a_new_kubelet_of_a_node_starts_its_pods_again() -> Result<()> {
    let mut site = Site::new("node-again").await?;
    site.run("web", "image: agnhost, args: [netexec]")?;
    site.run("leaving", "image: agnhost, args: [netexec]")?;
    site.wait_until_ready("web").await?;
    site.wait_until_ready("leaving").await?;
    site.restart_kubelet(async |pods| {
        pods.delete("leaving", &DeleteParams::default()).await?;
        Ok(())
    })
    .await?;
    wait_until_gone(&site, "leaving").await?;
    let moved = |status: &PodStatus| {
        let place = site.kubelet.place(&site.namespace, "web").ok();
        let address = place.map(|place| place.addresses[0].to_string());
        condition(status, "Ready") == "True" && address.is_some() && address == status.pod_ip
    };
    site.wait_for_status("web", "its new address", moved)
        .await?;
    let place = site.kubelet.place(&site.namespace, "web")?;
    let client = site.lab.node(1).add_pod("client")?;
    // The address may be the old one, and the status the old kubelet's.
    let answer = wait_for("an answer", async || {
        Ok(client::http_get(&client.netns, (place.addresses[1], 8080).into()).ok())
    });
    assert_eq!(answer.await?.pod, "web");
    Ok(())
}

async fn wait_until_gone(site: &Site, pod: &str) -> Result<()> {
    wait_for("the pod to vanish", async || {
        Ok(site.pods().get_opt(pod).await?.is_none().then_some(()))
    })
    .await
}

fn container(status: &PodStatus) -> Option<&ContainerStatus> {
    status.container_statuses.as_deref()?.first()
}

fn container_restarts(status: &PodStatus) -> i32 {
    container(status).map_or(0, |main| main.restart_count)
}
