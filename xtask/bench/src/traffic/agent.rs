//! This project's agents on a testbed: one on each node, started as on a cluster, with Services from manifests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::{Netns, Process, wait_for};
use lb_userspace::datapath::PinPaths;
use serde_json::Value;

use super::mode::{Place, Plane};
use super::service;
use super::testbed::{Testbed, directories};

/// How long an agent may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that runs. Dropping it ends it and removes its pins.
pub struct Agent {
    process: Process,
    lb: PathBuf,
    netns: Netns,
    bpffs: PathBuf,
    log: PathBuf,
}

/// Starts an agent on both nodes of a testbed and waits until they serve; then there are `services` other Services beside the two
/// measured ones.
///
/// # Errors
/// When one does not serve, with the end of its log.
pub fn start(
    lb: &Path,
    plane: Plane,
    services: u32,
    testbed: &Testbed,
    name: &str,
) -> Result<[Agent; 2]> {
    let [manifests, _] = directories(&format!("{name}-manifests"))?;
    service::write_manifests(&manifests, |place| testbed.backend(place))?;
    let start = |number| Agent::start(lb, plane, services, testbed, number, name, &manifests);
    let mut agents = [start(1)?, start(2)?];
    for agent in &mut agents {
        agent.wait_until_it_serves()?;
        service::write_others(&PinPaths::new(&agent.bpffs), services)?;
    }
    Ok(agents)
}

impl Agent {
    fn start(
        lb: &Path,
        plane: Plane,
        services: u32,
        testbed: &Testbed,
        number: usize,
        name: &str,
        manifests: &Path,
    ) -> Result<Agent> {
        let node = testbed.node(number);
        let [directory, bpffs] = directories(&format!("{name}-{number}"))?;
        let log = directory.join("log");
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let sockets = if plane.serves_sockets() {
            "all"
        } else {
            "host"
        };
        let redirect = if plane.redirects(number) { "on" } else { "off" };
        let mut command = node.netns.command(&lb.to_string_lossy());
        command
            .arg("--bpffs")
            .arg(&bpffs)
            .args(["agent", "--node-name", &node.name, "--manifests"])
            .arg(manifests)
            .args(["--service-cidr", service::SERVICE_CIDR])
            .args(["--redirect", redirect, "--socket-lb", sockets, "--cgroup"])
            .arg(testbed.cgroup(number).path())
            .args(service::room(services))
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(Agent {
            process: command.spawn()?,
            lb: lb.to_path_buf(),
            netns: node.netns.clone(),
            bpffs,
            log,
        })
    }

    /// How often the data plane has counted a reason.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn counter(&self, reason: &str) -> Result<u64> {
        let status = self.json(&["status"])?;
        let counters = status["counters"].as_array().into_iter().flatten();
        Ok(counters
            .filter(|counter| counter["reason"] == reason)
            .filter_map(|counter| counter["packets"].as_u64())
            .sum())
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        let served = wait_for("the agent to serve", PATIENCE, || match self.serves() {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => match self.process.try_wait() {
                // The maps may not be there yet.
                Ok(None) => None,
                _ => Some(Err(error)),
            },
        });
        let served = served.and_then(|served| served);
        served.with_context(|| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            format!("the agent's log ends with\n{tail}")
        })
    }

    fn serves(&self) -> Result<bool> {
        let listed = self.json(&["service", "list"])?;
        let listed = listed.as_array().context("no list")?.len();
        let programs = self.json(&["status"])?["sockets"]["programs"]["attached"].clone();
        Ok(listed == service::frontends() && programs == 8)
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        let mut command = self.netns.command(&self.lb.to_string_lossy());
        command.arg("--bpffs").arg(&self.bpffs).args(words);
        let output = command.args(["-o", "json"]).output()?;
        if !output.status.success() {
            bail!("lb {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // What can't be removed goes with the sandbox.
        let _ = self.process.kill();
        let _ = fs::remove_dir_all(&self.bpffs);
    }
}

/// Fails unless connections are translated where the plane says: in the client's calls, or packet by packet.
///
/// # Errors
/// Then, or when the maps cannot be read.
pub fn assert_translates(agents: &[Agent; 2], plane: Plane, testbed: &Testbed) -> Result<()> {
    let client = &agents[0];
    for place in Place::ALL {
        let count = || -> Result<[u64; 2]> {
            Ok([
                client.counter("socket-forward")?,
                client.counter("new-flow")?,
            ])
        };
        let before = count()?;
        testbed.measure(
            super::mode::Workload::TcpRr,
            service::vip(place),
            Duration::from_millis(1),
        )?;
        let after = count()?;
        let grown = [after[0] - before[0], after[1] - before[1]];
        let expected = if plane.serves_sockets() {
            [1, 0]
        } else {
            [0, 1]
        };
        ensure!(
            grown == expected,
            "{}: calls and flows that were translated: {grown:?}, not {expected:?}",
            plane.name()
        );
    }
    Ok(())
}
