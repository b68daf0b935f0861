//! The cluster comes up: pods with real servers, then the agents.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::client::http_get_within;
use lab::{Pod, wait_until};

use crate::demo::cluster::Cluster;
use crate::demo::manifests;
use crate::demo::services::BACKEND;
use crate::demo::talk::Talk;

/// Pods on two nodes, and the manifests.
pub fn pods(lb: &Path, talk: &mut Talk) -> Result<Cluster> {
    talk.chapter("Two nodes and real servers, each in a network namespace of its own");
    let start = Instant::now();
    let cluster = Cluster::create(lb)?;
    let mut table = row("POD", "NODE", "IPV4", "IPV6", "RUNS");
    table += &pod_row(&cluster.front_end, "curl and other clients");
    for workload in &cluster.workloads {
        table += &pod_row(&workload.pod, workload.server.program.name());
    }
    talk.quote(&table);
    talk.say(format!(
        "Made in {:.1} s. There is no iptables, no kube-proxy: nobody knows a Service yet.",
        start.elapsed().as_secs_f64()
    ));
    Ok(cluster)
}

/// The agents, until every pod is served.
pub fn agents(cluster: &mut Cluster, talk: &mut Talk) -> Result<()> {
    talk.chapter("The Services, as a user writes them, and an agent on each node");
    let file = manifests::examples().join("backend.yaml");
    talk.say("deploy/example/backend.yaml:");
    talk.quote(first_document(&std::fs::read_to_string(&file)?));
    let before = cluster.run(
        &cluster.front_end,
        &["curl", "-sS", "--max-time", "0.3", VIP],
    )?;
    talk.say("before the agents run:");
    talk.command(&before);
    talk.claim("no agent: the VIP leads nowhere", !before.succeeded);

    let start = Instant::now();
    cluster.start_agents()?;
    wait_until_served(cluster)?;
    talk.say(format!(
        "lb agent --node-name node1 --manifests … (and node2): all pods served {:.1} s after the start",
        start.elapsed().as_secs_f64()
    ));
    talk.command(&cluster.agents[0].lb(&["service", "list"])?);
    Ok(())
}

const VIP: &str = "http://10.96.0.10";

/// A pod is served from when its device has the programs, which the agents attach once the Services are in the maps.
fn wait_until_served(cluster: &Cluster) -> Result<()> {
    let behind = cluster.workloads.iter().map(|workload| &workload.pod);
    for pod in behind.chain([&cluster.front_end]) {
        for vip in BACKEND.sockets() {
            let what = format!("{} to reach {vip}", pod.name);
            wait_until(&what, Duration::from_secs(10), || {
                http_get_within(&pod.netns, vip, Duration::from_millis(200)).is_ok()
            })?;
        }
    }
    Ok(())
}

fn pod_row(pod: &Pod, runs: &str) -> String {
    row(
        &pod.name,
        &pod.node,
        &pod.ipv4.to_string(),
        &pod.ipv6.to_string(),
        runs,
    )
}

fn row(pod: &str, node: &str, ipv4: &str, ipv6: &str, runs: &str) -> String {
    format!("{pod:<12} {node:<6} {ipv4:<12} {ipv6:<18} {runs}\n")
}

fn first_document(text: &str) -> &str {
    text.split("---\n").next().unwrap_or(text)
}
