//! The user's example, applied as it is: a Service `backend` and a Deployment of three pods.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{Command, counters};

use super::PATIENCE;
use super::cluster::{eventually, test};

const PODS: usize = 3;
/// So many that each pod gets some, whichever slots the ports fall on.
const REQUESTS: usize = 30;

#[test]
fn the_example_is_reached_from_a_pod_and_from_its_node_through_both_vips_and_is_spread_over_its_pods()
-> Result<()> {
    test("example", |cluster, namespace| {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/example/backend.yaml");
        cluster.kubectl(&format!("-n {namespace} apply -f {}", example.display()))?;
        cluster.wait_for_rollout(namespace, "deployment/backend")?;
        let vips = cluster.vips(namespace, "backend", 80)?;
        let client = cluster.client(namespace, "client", 0)?;
        for at in vips {
            eventually("the example's first answer", PATIENCE, || {
                get(&mut client.netns.command("curl"), &at.to_string(), 1).map(Some)
            })?;
        }
        let pods = cluster.places(namespace, "app=my-backend-app")?;
        ensure!(pods.len() == PODS, "{} pods", pods.len());
        for at in vips {
            let accepted = || -> Result<Vec<u64>> {
                let accepted = |counted: std::collections::BTreeMap<String, u64>| {
                    counted.get("Tcp.PassiveOpens").copied()
                };
                pods.iter()
                    .map(|(_, place)| accepted(counters(&place.netns)?).context("a counter"))
                    .collect()
            };
            // A pod that is ready is an endpoint a little later.
            eventually("connections of every pod", PATIENCE, || {
                let before = accepted()?;
                get(&mut client.netns.command("curl"), &at.to_string(), REQUESTS)?;
                let more: Vec<u64> = accepted()?.iter().zip(before).map(|(a, b)| a - b).collect();
                println!("{at}: {more:?} connections");
                assert_eq!(more.iter().sum::<u64>(), REQUESTS as u64, "{at}");
                Ok(more.iter().all(|count| *count > 0).then_some(()))
            })?;
        }
        // The kubelet and pods of the host network are processes of the node.
        for node in &cluster.nodes {
            for at in vips {
                let mut curl = node.netns.command("curl");
                curl.cgroup(node.cgroup.path());
                get(&mut curl, &at.to_string(), PODS)?;
            }
        }
        Ok(())
    })
}

/// Asks so many times, each over a connection of its own, for the page that nginx shows when it is new.
fn get(curl: &mut Command, at: &str, times: usize) -> Result<()> {
    let url = format!("http://{at}/");
    let once = ["-sS", "--fail", "--max-time", "5", "--no-keepalive"];
    for index in 0..times {
        if index > 0 {
            curl.arg("--next");
        }
        // Without it curl would use its connection again.
        curl.args(once).args(["-H", "Connection: close", &url]);
    }
    let output = curl.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{url}: {said}");
    let text = String::from_utf8_lossy(&output.stdout);
    let pages = text.matches("<title>Welcome to nginx").count();
    ensure!(pages == times, "{pages} pages of {times}: {text}");
    Ok(())
}
