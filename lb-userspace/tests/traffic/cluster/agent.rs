//! The agent of one node, and `lb` beside it: started, killed and asked as an operator would.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use lab::{Netns, Node, Pod, Process, Sandbox, wait_for};
use serde_json::Value;

use super::service::{Endpoint, Service};

/// How long an agent may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Flags with their values.
pub type Flags = BTreeMap<&'static str, &'static str>;

/// An agent, and what it leaves behind when it is gone.
pub struct Agent {
    /// Name of its node.
    pub node: String,
    /// The mount point that it pins below.
    pub bpffs: PathBuf,
    /// What it is started with, beside what it needs.
    pub flags: Flags,
    /// The binary that is started.
    pub binary: PathBuf,
    netns: Netns,
    manifests: PathBuf,
    log: PathBuf,
    process: Option<Process>,
    /// The agent that the maps named when this one was started, and how often they had been written.
    predecessor: (u64, u64),
}

impl Agent {
    pub(super) fn new(node: &Node, manifests: &Path, flags: Flags) -> Result<Self> {
        let sandbox = Sandbox::current()?;
        let bpffs = sandbox.bpffs().join(node.netns.name());
        fs::create_dir(&bpffs).with_context(|| bpffs.display().to_string())?;
        Ok(Self {
            node: node.name.clone(),
            bpffs,
            flags,
            binary: env!("CARGO_BIN_EXE_lb").into(),
            netns: node.netns.clone(),
            manifests: manifests.to_owned(),
            log: sandbox
                .directory()
                .join(format!("{}.log", node.netns.name())),
            process: None,
            predecessor: (0, 0),
        })
    }

    /// Starts it. It may not have written anything yet.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} has an agent", self.node);
        self.predecessor = self.incarnation().unwrap_or_default();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        self.process = Some(self.command().stderr(log).spawn()?);
        Ok(())
    }

    /// Starts it once more, beside the running one, and returns how that ended.
    pub fn start_another(&self) -> Result<Output> {
        self.command().output()
    }

    /// Waits until it has written what the manifests say.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let (process, generation) = self.predecessor;
        self.wait("it to write its first state", |agent| {
            let now = agent.incarnation()?;
            Ok(now.0 != process && now.1 > generation)
        })
    }

    /// Starts it and waits until it has written what the manifests say.
    pub fn start_and_wait(&mut self) -> Result<()> {
        self.start()?;
        self.wait_until_ready()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("no agent runs")?;
        process.kill()?;
        Ok(())
    }

    /// Asks it with SIGTERM to end, and returns how it did.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("no agent runs")?;
        process.signal(libc::SIGTERM)?;
        wait_for("the agent's end", PATIENCE, || process.try_wait().ok()?)
    }

    /// Whether it was started, and neither killed nor asked to end since.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it is at work, by the kernel's word.
    pub fn is_alive(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// All that it and its predecessors have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until a line of the log holds all of `words`.
    pub fn wait_for_log(&mut self, words: &[&str]) -> Result<String> {
        let line = |agent: &Self| {
            let log = agent.log();
            let mut lines = log.lines();
            lines
                .find(|line| words.iter().all(|word| line.contains(word)))
                .map(str::to_owned)
        };
        self.wait(&format!("a line with {words:?}"), |agent| {
            Ok(line(agent).is_some())
        })?;
        line(self).context("the log has lost a line")
    }

    /// Waits until new connections to the Service are led to exactly these endpoints, and no other has a backend row.
    pub fn wait_until_serves(&mut self, service: &Service, endpoints: &[Endpoint]) -> Result<()> {
        let expected = service.selectable(endpoints, &self.node);
        let known = Service::targets(endpoints);
        let what = format!("Service {} to lead to {expected:?}", service.name);
        self.wait(&what, |agent| {
            let rows = agent.backends(service)?;
            let selectable: BTreeSet<_> = rows
                .iter()
                .filter(|(_, slots)| **slots > 0)
                .map(|(address, _)| *address)
                .collect();
            Ok(agent.frontends(service)? == service.frontends()
                && selectable == expected
                && rows.keys().all(|address| known.contains(address)))
        })
    }

    /// Waits until the Service has no frontend.
    pub fn wait_until_withdrawn(&mut self, service: &Service) -> Result<()> {
        let what = format!("Service {} to be gone", service.name);
        self.wait(&what, |agent| Ok(agent.frontends(service)?.is_empty()))
    }

    /// Waits until both sides of a pod's device run a program.
    pub fn wait_until_attached(&mut self, pod: &Pod) -> Result<()> {
        let what = format!("programs on {}", pod.host_device);
        self.wait(&what, |agent| {
            Ok(agent.tcx_programs(&pod.host_device)? + agent.filters(&pod.host_device)? == 2)
        })
    }

    /// How many programs tcx runs on a device, both sides together: none on a kernel without tcx.
    pub fn tcx_programs(&self, device: &str) -> Result<usize> {
        let on = |side| {
            let programs = self.netns.run(|| SchedClassifier::query_tcx(device, side));
            match programs {
                Ok((_, programs)) => Ok(programs.len()),
                // Before Linux 6.6 the attach type is unknown.
                Err(ProgramError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::EINVAL) =>
                {
                    Ok(0)
                }
                Err(error) => Err(anyhow::Error::from(error)),
            }
        };
        Ok(on(TcAttachType::Ingress)? + on(TcAttachType::Egress)?)
    }

    /// How many programs clsact runs on a device, both sides together.
    pub fn filters(&self, device: &str) -> Result<usize> {
        let on = |side| {
            let output = self.netns.run(|| {
                std::process::Command::new("tc")
                    .args(["-j", "filter", "show", "dev", device, side])
                    .output()
            })?;
            ensure!(output.status.success(), "tc filter show dev {device}");
            let filters: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let filters = filters.as_array().into_iter().flatten();
            Ok(filters
                .filter(|filter| filter["options"]["prog"]["id"].is_u64())
                .count())
        };
        Ok(on("ingress")? + on("egress")?)
    }

    /// What `lb WORDS -o json` prints on this node.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let text = self.text(&[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("lb {words:?} printed {text}"))
    }

    /// What `lb WORDS` prints on this node.
    pub fn text(&self, words: &[&str]) -> Result<String> {
        let output = lb(&self.netns, &self.bpffs, words)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "lb {words:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Packets that a reason was given for.
    pub fn counter(&self, reason: &str) -> Result<u64> {
        let status = self.json(&["status"])?;
        let counters = status["counters"].as_array().into_iter().flatten();
        Ok(counters
            .filter(|counter| counter["reason"] == reason)
            .filter_map(|counter| counter["packets"].as_u64())
            .sum())
    }

    /// Where the maps are pinned.
    pub fn pins(&self) -> PathBuf {
        let layout = lb_common::layout::LAYOUT;
        self.bpffs.join("lb").join(format!("v{layout}"))
    }

    /// Process id of the agent that the maps name, and how often they were written.
    fn incarnation(&self) -> Result<(u64, u64)> {
        let status = self.json(&["status"])?;
        let number = |field: &str| status[field].as_u64().context(field.to_owned());
        Ok((number("agent_pid")?, number("generation")?))
    }

    /// The frontends of the Service, with the seconds for which clients stay with their backends.
    fn frontends(&self, service: &Service) -> Result<BTreeMap<SocketAddr, u64>> {
        let rows = self.json(&["service", "list"])?;
        let rows = rows.as_array().context("no list")?;
        rows.iter()
            .filter(|row| row["name"] == service.name)
            .map(|row| {
                let seconds = row["affinity_seconds"].as_u64();
                let seconds = seconds.context("affinity_seconds")?;
                Ok((address(&row["frontend"])?, seconds))
            })
            .collect()
    }

    /// The backends of the Service, with the number of slots that lead to each.
    fn backends(&self, service: &Service) -> Result<BTreeMap<SocketAddr, u64>> {
        let of = format!("default/{}:", service.name);
        let rows = self.json(&["backend", "list"])?;
        let rows = rows.as_array().context("no list")?;
        rows.iter()
            .filter(|row| {
                row["service"]
                    .as_str()
                    .is_some_and(|name| name.starts_with(&of))
            })
            .map(|row| {
                let slots = row["slots"].as_u64().context("slots")?;
                Ok((address(&row["address"])?, slots))
            })
            .collect()
    }

    fn command(&self) -> lab::Command {
        let mut command = self.netns.command(&self.binary.to_string_lossy());
        command
            .arg("--bpffs")
            .arg(&self.bpffs)
            .args(["agent", "--node-name", &self.node, "--manifests"])
            .arg(&self.manifests)
            .args(self.flags.iter().flat_map(|(flag, value)| [flag, value]));
        command
    }

    /// Waits until a condition holds; one that can't be told does not hold yet.
    fn wait(&mut self, what: &str, holds: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let mut last = None;
        let outcome = wait_for(&format!("{what} on {}", self.node), PATIENCE, || {
            if !self.is_alive() {
                return Some(false);
            }
            match holds(self) {
                Ok(true) => Some(true),
                Ok(false) => None,
                Err(error) => {
                    last = Some(error);
                    None
                }
            }
        });
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the agent on {} has ended, waiting for {what}", self.node),
            Err(error) => Err(error.context(format!("{last:?}"))),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process = None;
        super::remove_pins(&self.bpffs);
    }
}

/// Runs `lb WORDS` in a namespace, with pins below `bpffs`.
pub fn lb(netns: &Netns, bpffs: &Path, words: &[&str]) -> Result<Output> {
    let mut command = netns.command(env!("CARGO_BIN_EXE_lb"));
    command.arg("--bpffs").arg(bpffs).args(words);
    command.output()
}

fn address(value: &Value) -> Result<SocketAddr> {
    let text = value.as_str().context("an address is no text")?;
    Ok(text.parse()?)
}
