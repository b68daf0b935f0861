//! Pods as endpoints of Services: the control plane's EndpointSlice controller sees them come, be ready, drain and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};
use kube::api::{DeleteParams, ListParams};
use lab::client;

use super::site::{Site, wait_for};

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: web},
    spec: {ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: http}]}}";

const DEPLOYMENT: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {
    replicas: 3, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {
      nodeSelector: {kubernetes.io/hostname: NODE},
      containers: [{name: web, image: registry.k8s.io/e2e-test-images/agnhost:2.59, args: [netexec, --http-port=8080],
        ports: [{name: http, containerPort: 8080}], readinessProbe: {httpGet: {path: /readyz, port: http}}}]}}}}";

/// Ready, serving, terminating.
type Conditions = (bool, bool, bool);

const READY: Conditions = (true, true, false);
const NOT_READY: Conditions = (false, false, false);
const DRAINING: Conditions = (false, true, true);

#[tokio::test]
async fn a_deployment_becomes_the_ready_endpoints_of_its_service() -> Result<()> {
    let site = Site::new("endpoints").await?;
    let begin = Instant::now();
    site.apply(&format!("{SERVICE}\n---\n{DEPLOYMENT}"))?;
    wait_for_endpoints(&site, |found| {
        found.len() == 3 && found.values().all(|is| *is == READY)
    })
    .await?;
    println!("three ready endpoints {:?} after apply", begin.elapsed());
    let pods = site.pods().list(&ListParams::default()).await?;
    let client = site.lab.node(1).add_pod("client")?;
    for pod in &pods {
        let name = pod.metadata.name.as_deref().context("a name")?;
        for address in site.kubelet.place(&site.namespace, name)?.addresses {
            let answer = client::http_get(&client.netns, (address, 8080).into())?;
            assert_eq!((answer.pod.as_str(), answer.peer), (name, answer.local));
            let answer = client::raw_get(&client.netns, (address, 8080).into(), "/hostname")?;
            assert!(answer.ends_with(name), "{answer}");
            let answer = client::udp_exchange(&client.netns, (address, 8081).into(), b"who?")?;
            assert_eq!(answer.pod, name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_not_ready_is_no_endpoint_until_it_is() -> Result<()> {
    let site = Site::new("readiness").await?;
    site.apply(&format!("{SERVICE}\n---\n{DEPLOYMENT}"))?;
    let found = wait_for_endpoints(&site, |found| {
        found.len() == 3 && found.values().all(|is| *is == READY)
    })
    .await?;
    let pod = found.keys().next().context("a pod")?;
    for (ready, expected) in [(false, NOT_READY), (true, READY)] {
        site.kubelet.set_ready(&site.namespace, pod, ready)?;
        wait_for_endpoints(&site, |found| found.get(pod) == Some(&expected)).await?;
    }
    assert!(
        site.kubelet
            .set_ready(&site.namespace, "none", true)
            .is_err()
    );
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_deleted_drains_and_vanishes() -> Result<()> {
    let site = Site::new("draining").await?;
    site.apply(SERVICE)?;
    let container = "image: agnhost, args: [netexec, --http-port=8080, --delay-shutdown=60], \
                     ports: [{name: http, containerPort: 8080}]";
    site.run_with("web", container, "terminationGracePeriodSeconds: 600")?;
    wait_for_endpoints(&site, |found| found.get("web") == Some(&READY)).await?;
    let place = site.kubelet.place(&site.namespace, "web")?;
    let client = site.lab.node(1).add_pod("client")?;

    site.pods().delete("web", &DeleteParams::default()).await?;
    wait_for_endpoints(&site, |found| found.get("web") == Some(&DRAINING)).await?;
    for address in place.addresses {
        let answer = client::http_get(&client.netns, (address, 8080).into())?;
        assert_eq!(answer.pod, "web", "it serves on while it drains");
    }

    let sooner = DeleteParams::default().grace_period(1);
    let begin = Instant::now();
    site.pods().delete("web", &sooner).await?;
    wait_for_endpoints(&site, BTreeMap::is_empty).await?;
    wait_for("the pod to vanish", async || {
        Ok(site.pods().get_opt("web").await?.is_none().then_some(()))
    })
    .await?;
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "killed when its time was over"
    );
    assert!(!place.netns.path().exists(), "the namespace is gone");
    Ok(())
}

#[tokio::test]
async fn a_pod_on_the_host_network_serves_on_its_nodes_addresses() -> Result<()> {
    let site = Site::new("host-network").await?;
    site.apply(SERVICE)?;
    let container = "image: agnhost, args: [serve-hostname, --port=8080], ports: [{name: http, containerPort: 8080}]";
    site.run_with("web", container, "hostNetwork: true")?;
    wait_for_endpoints(&site, |found| found.get("web") == Some(&READY)).await?;
    let status = site.wait_until_ready("web").await?;
    let node = site
        .lab
        .node(1)
        .addresses()
        .map(|address| address.to_string());
    let ips = status.pod_ips.unwrap_or_default();
    let ips: Vec<&str> = ips.iter().map(|ip| ip.ip.as_str()).collect();
    assert_eq!(ips, node);
    let outside = &site.lab.outside().netns;
    for address in site.lab.node(1).addresses() {
        let answer = client::raw_get(outside, (address, 8080).into(), "/")?;
        assert!(
            answer.ends_with(&site.node),
            "it is called as its node: {answer}"
        );
    }
    site.pods().delete("web", &DeleteParams::default()).await?;
    wait_for_endpoints(&site, BTreeMap::is_empty)
        .await
        .map(drop)
}

async fn wait_for_endpoints(
    site: &Site,
    is_so: impl Fn(&BTreeMap<String, Conditions>) -> bool,
) -> Result<BTreeMap<String, Conditions>> {
    let mut last = Vec::new();
    let found = wait_for("the endpoints", async || {
        // A slice of each family, which must say the same.
        let mut families = Vec::new();
        for family in ["IPv4", "IPv6"] {
            families.push(endpoints(site, family).await?);
        }
        let both = families[0] == families[1] && is_so(&families[0]);
        let found = both.then(|| families[0].clone());
        last = families;
        Ok(found)
    });
    found.await.with_context(|| format!("{last:?}"))
}

async fn endpoints(site: &Site, family: &str) -> Result<BTreeMap<String, Conditions>> {
    let slices = site.api::<EndpointSlice>();
    let slices = slices.list(&ListParams::default()).await?;
    let of_family = slices.items.into_iter();
    let endpoints = of_family
        .filter(|slice| slice.address_type == family)
        .flat_map(|slice| slice.endpoints);
    let named = endpoints.filter_map(|endpoint| {
        let name = endpoint.target_ref?.name?;
        let EndpointConditions {
            ready,
            serving,
            terminating,
        } = endpoint.conditions?;
        let is = |condition: Option<bool>| condition == Some(true);
        Some((name, (is(ready), is(serving), is(terminating))))
    });
    Ok(named.collect())
}
