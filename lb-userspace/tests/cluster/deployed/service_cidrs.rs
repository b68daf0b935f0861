//! Ranges of addresses that come and go while the cluster runs (S-30 d), on the API server that hands the addresses out.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use cluster::kubelet::Place;
use lab::client::{ClientError, http_get, http_get_within};

use super::PATIENCE;
use super::cluster::{Cluster, eventually, test};

/// Outside of the cluster's own range.
const RANGE: &str = "10.210.7.0/24";
const VIP: &str = "10.210.7.11";
const NOBODYS: &str = "10.210.7.12";

/// As long as a client waits for nobody.
const SILENCE: Duration = Duration::from_millis(400);

const SERVER: &str =
    "{apiVersion: v1, kind: Pod, metadata: {name: server, labels: {app: ranges}}, spec: {
    containers: [{name: server, image: agnhost, args: [netexec, --http-port=8080],
      readinessProbe: {httpGet: {path: /readyz, port: 8080}}}]}}";

fn range() -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {{name: second}}, spec: {{cidrs: ['{RANGE}']}}}}"
    )
}

/// A Service of this proxy, or of another one where `labels` say so.
fn service(labels: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, labels: {{{labels}}}}}, spec: {{selector: {{app: ranges}}, \
         clusterIP: {VIP}, ports: [{{port: 80, targetPort: 8080}}]}}}}"
    )
}

#[test]
fn s_30_d_a_range_counts_from_when_it_is_there_until_it_goes_and_services_get_addresses_of_it()
-> Result<()> {
    test("ranges", |cluster, namespace| {
        let clients = [
            cluster.client(namespace, "near", 0)?,
            cluster.client(namespace, "far", 1)?,
        ];
        cluster.apply(namespace, SERVER)?;
        cluster.wait_for(namespace, "pod/server", "condition=Ready")?;
        ranges_are(cluster, false)?;
        let passes = [0, 0];
        assert_eq!(dropped(cluster, &clients, NOBODYS)?, passes);

        cluster.apply(namespace, &range())?;
        cluster.wait_for(namespace, "servicecidr/second", "condition=Ready")?;
        ranges_are(cluster, true)?;
        assert!(
            dropped(cluster, &clients, NOBODYS)?
                .iter()
                .all(|it| *it > 0)
        );

        cluster.apply(namespace, &service(""))?;
        reach(&clients)?;
        assert!(
            dropped(cluster, &clients, NOBODYS)?
                .iter()
                .all(|it| *it > 0)
        );
        // It is another proxy's: it is no more served, and nobody's neither.
        let other = "service.kubernetes.io/service-proxy-name: other";
        cluster.apply(namespace, &service(other))?;
        eventually("packets to the other proxy to pass", PATIENCE, || {
            Ok((dropped(cluster, &clients, VIP)? == passes).then_some(()))
        })?;
        silent(&clients, VIP)?;
        let label = "service.kubernetes.io/service-proxy-name-";
        cluster.kubectl(&format!("-n {namespace} label service web {label}"))?;
        reach(&clients)?;

        // As long as a Service has an address of it, the range is there to stay; but no other gets one.
        cluster.kubectl("delete servicecidr second --wait=false")?;
        ranges_are(cluster, false)?;
        assert_eq!(dropped(cluster, &clients, NOBODYS)?, passes);
        reach(&clients)?;
        cluster.kubectl(&format!("-n {namespace} delete service web"))?;
        cluster.wait_for(namespace, "servicecidr/second", "delete")?;
        eventually("packets to the old address to pass", PATIENCE, || {
            Ok((dropped(cluster, &clients, VIP)? == passes).then_some(()))
        })
    })
}

/// Waits until all agents have written the second range, or taken it out.
fn ranges_are(cluster: &Cluster, there: bool) -> Result<()> {
    for node in &cluster.nodes {
        eventually("the ranges", PATIENCE, || {
            let status = node.lb(&["status"])?;
            let line = status.lines().find(|line| line.starts_with("cidrs "));
            let line = line.unwrap_or_default();
            // The cluster's own is always there.
            let is = line.contains("10.96.0.0/") && line.contains(RANGE) == there;
            Ok(is.then_some(()))
        })?;
    }
    Ok(())
}

/// How many packets to an address each client's node drops because nobody has it.
fn dropped(cluster: &Cluster, clients: &[Place; 2], address: &str) -> Result<[u64; 2]> {
    let count = |node: usize| -> Result<u64> {
        let status = cluster.nodes[node].lb(&["status", "-o", "json"])?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        let counters = status["counters"].as_array().into_iter().flatten();
        Ok(counters
            .filter(|counter| counter["reason"] == "unallocated")
            .filter_map(|counter| counter["packets"].as_u64())
            .sum())
    };
    let before = [count(0)?, count(1)?];
    silent(clients, address)?;
    Ok([count(0)? - before[0], count(1)? - before[1]])
}

/// Holds that an address answers no client.
fn silent(clients: &[Place; 2], address: &str) -> Result<()> {
    for client in clients {
        let to = SocketAddr::new(address.parse::<IpAddr>()?, 80);
        let outcome = http_get_within(&client.netns, to, SILENCE);
        let unanswered = |error: &ClientError| !error.is_refused();
        assert!(outcome.as_ref().is_err_and(unanswered), "{to}: {outcome:?}");
    }
    Ok(())
}

/// Waits until all clients reach the server through the VIP.
fn reach(clients: &[Place; 2]) -> Result<()> {
    for client in clients {
        let to = SocketAddr::new(VIP.parse::<IpAddr>()?, 80);
        eventually("an answer of the server", PATIENCE, || {
            Ok((http_get(&client.netns, to)?.pod == "server").then_some(()))
        })?;
    }
    Ok(())
}
