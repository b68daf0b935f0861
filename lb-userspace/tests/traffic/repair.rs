//! Programs that somebody else removes from a device under the agent's hands: the status shows it, the agent puts them back.
//!
//! That a quiet agent looks each minute is tested with a shorter minute elsewhere; here lost notifications make it look.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::client;
use serde_json::{Value, json};

use super::cluster::{Agent, Cluster, Endpoint, HTTP, Service};

#[test]
fn a_detached_link_is_attached_again() -> Result<()> {
    check("tcx", json!(["gone"]), |cluster, device| {
        let ifindex = cluster.ifindex(device)?;
        for pin in link_pins(cluster.agent(1), &ifindex) {
            run(Command::new("bpftool")
                .args(["link", "detach", "pinned"])
                .arg(pin))?;
        }
        Ok(())
    })
}

#[test]
fn a_removed_queueing_discipline_is_made_again_with_its_filters() -> Result<()> {
    check("clsact", json!([]), |cluster, device| {
        let netns = &cluster.lab.node(1).netns;
        netns.run(|| run(Command::new("tc").args(["qdisc", "del", "dev", device, "clsact"])))
    })
}

fn check(
    mechanism: &'static str,
    shown: Value,
    remove: impl FnOnce(&mut Cluster, &str) -> Result<()>,
) -> Result<()> {
    let builder = Cluster::builder().flag("--attach", mechanism);
    builder.test(|cluster| {
        let web = Service::new("web", 10);
        let pods = [cluster.backend(2, "far")?];
        cluster.publish(&web, &Endpoint::all(&pods))?;
        let client = cluster.client(1, "client")?;
        let device = client.host_device.clone();
        let agent = cluster.agent(1);
        assert_eq!(
            sides(agent, &device)?,
            [json!([mechanism]), json!([mechanism])]
        );

        signal(cluster, "-STOP")?;
        remove(cluster, &device)?;
        assert_eq!(sides(cluster.agent(1), &device)?, [shown.clone(), shown]);
        // More changes than the kernel keeps for a reader that does not read.
        let flood: Vec<String> = (0..20_000)
            .map(|i| format!("link set {device} mtu {}", 1400 + i % 2))
            .collect();
        cluster.lab.node(1).netns.ip(&flood)?;
        signal(cluster, "-CONT")?;

        let words = ["WARN", "removed from the device by somebody else", &device];
        cluster.agent(1).wait_for_log(&words)?;
        cluster.agent(1).wait_until_attached(&client)?;
        assert_eq!(
            sides(cluster.agent(1), &device)?,
            [json!([mechanism]), json!([mechanism])]
        );
        for vip in web.at(HTTP) {
            assert_eq!(client::http_get(&client.netns, vip)?.pod, "far");
        }
        Ok(())
    })
}

/// Sends a signal to the first node's agent. The status tells its number in the lab's own PID namespace, so that is where
/// the signal is sent from: outside, the number is somebody else's.
fn signal(cluster: &mut Cluster, signal: &str) -> Result<()> {
    let pid = cluster.agent(1).json(&["status"])?["agent_pid"].to_string();
    let netns = &cluster.lab.node(1).netns;
    let output = netns.command("kill").args([signal, &pid]).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kill {signal} {pid}: {complaint}");
    Ok(())
}

/// What holds the programs of both sides of a device, as the status tells it.
fn sides(agent: &Agent, device: &str) -> Result<[Value; 2]> {
    let status = agent.json(&["status"])?;
    let devices = status["devices"].as_array().context("no devices")?;
    let row = devices.iter().find(|row| row["device"] == device);
    let row = row.with_context(|| format!("{device} is not in {status}"))?;
    Ok([row["ingress"].clone(), row["egress"].clone()])
}

impl Cluster {
    fn ifindex(&self, device: &str) -> Result<String> {
        let path = ["-o", "link", "show", "dev", device];
        let line = self.lab.node(1).netns.ip_output(&path)?;
        let (ifindex, _) = line.split_once(':').context("no ifindex")?;
        Ok(ifindex.to_owned())
    }
}

fn link_pins(agent: &Agent, ifindex: &str) -> [PathBuf; 2] {
    ["ingress", "egress"].map(|side| agent.pins().join(format!("links/if{ifindex}_{side}")))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {complaint}");
    Ok(())
}
