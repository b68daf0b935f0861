//! The agent of one node: the real binary, started, killed and asked as an operator would.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::{Netns, Node, Process, wait_for};
use serde_json::Value;

use super::servers::last_lines;
use super::shell::{self, Dns, Ran};

/// How long an agent may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent and what it leaves behind when it is gone.
#[derive(Debug)]
pub struct Agent {
    pub node: String,
    netns: Netns,
    binary: PathBuf,
    bpffs: PathBuf,
    manifests: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// Which agent the maps name as their writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// Its process id.
    pub process: u64,
    /// How many writes were completed, by it and by those before it.
    pub generation: u64,
}

impl Agent {
    /// An agent that does not run yet. Its pins go to a directory of its own below `bpffs`, its log into `directory`.
    ///
    /// # Errors
    /// When the pins' directory cannot be made.
    pub fn new(
        node: &Node,
        binary: &Path,
        bpffs: &Path,
        manifests: &Path,
        directory: &Path,
    ) -> Result<Self> {
        let bpffs = bpffs.join(&node.name);
        fs::create_dir(&bpffs).with_context(|| bpffs.display().to_string())?;
        Ok(Self {
            node: node.name.clone(),
            netns: node.netns.clone(),
            binary: binary.to_owned(),
            bpffs,
            manifests: manifests.to_owned(),
            log: directory.join(format!("agent-{}.log", node.name)),
            process: None,
        })
    }

    /// Starts it. It may not have written anything yet.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| self.log.display().to_string())?;
        let mut command = self.netns.command(&self.binary.to_string_lossy());
        command
            .arg("--bpffs")
            .arg(&self.bpffs)
            .args(["agent", "--node-name", &self.node, "--manifests"])
            .arg(&self.manifests)
            // The root cgroup is the machine's, not the demonstration's.
            .args(["--socket-lb", "off"])
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// Kills it as the kernel would when memory is short.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self
            .process
            .take()
            .with_context(|| format!("no agent runs on {}", self.node))?;
        process.kill()?;
        Ok(())
    }

    /// Whether it was started and not killed since.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Waits until the maps lead new connections to exactly these addresses, of all Services together.
    ///
    /// # Errors
    /// When the agent has ended, or after too long: with the last lines of its log.
    pub fn wait_for_backends(&mut self, expected: &BTreeSet<SocketAddr>) -> Result<()> {
        self.wait_for("the maps to hold the endpoints", |agent| {
            agent.selectable().is_ok_and(|found| found == *expected)
        })
    }

    /// Waits until a frontend is in the maps.
    ///
    /// # Errors
    /// As [`Agent::wait_for_backends`].
    pub fn wait_for_frontend(&mut self, frontend: SocketAddr) -> Result<()> {
        let frontend = frontend.to_string();
        self.wait_for(&format!("the frontend {frontend}"), |agent| {
            let has = |rows: &Vec<Value>| rows.iter().any(|row| row["frontend"] == frontend);
            agent.list("service").is_ok_and(|rows| has(&rows))
        })
    }

    /// Waits until an agent that was started after `before` was taken has written the maps.
    ///
    /// # Errors
    /// As [`Agent::wait_for_backends`].
    pub fn wait_for_successor(&mut self, before: Incarnation) -> Result<()> {
        self.wait_for("the new agent to take over", |agent| {
            agent.incarnation().is_ok_and(|now| {
                now.process != before.process && now.generation > before.generation
            })
        })
    }

    /// Who writes the maps, and how often that was done.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn incarnation(&self) -> Result<Incarnation> {
        let ran = self.lb(&["status", "-o", "json"])?;
        let status: Value = serde_json::from_str(&ran.output)?;
        let number = |field: &str| {
            status[field]
                .as_u64()
                .with_context(|| format!("the status has no {field}"))
        };
        Ok(Incarnation {
            process: number("agent_pid")?,
            generation: number("generation")?,
        })
    }

    /// Runs `lb` on this node.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn lb(&self, words: &[&str]) -> Result<Ran> {
        let binary = self.binary.to_string_lossy();
        let bpffs = self.bpffs.to_string_lossy();
        let words = [&[&*binary, "--bpffs", &*bpffs], words].concat();
        let mut ran = shell::run(&self.netns, &self.node, Dns::cluster(), &words)?;
        ran.line = ran.line.replacen(&*binary, "lb", 1);
        Ok(ran)
    }

    /// Where the maps are pinned.
    ///
    /// # Errors
    /// When the agent has pinned none.
    pub fn pins(&self) -> Result<PathBuf> {
        let folder = self.bpffs.join("lb");
        let layouts = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let layouts: Vec<PathBuf> = layouts
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        match &layouts[..] {
            [layout] => Ok(layout.clone()),
            _ => bail!(
                "{} holds other than one layout: {layouts:?}",
                folder.display()
            ),
        }
    }

    /// Where `lb` finds this node's pins.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Where the agent's log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The node's namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    fn wait_for(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let told = format!("{what} on {}", self.node);
        let outcome = wait_for(&told, PATIENCE, || {
            let running = self.process.as_mut().map(Process::try_wait);
            match running {
                Some(Ok(None)) if holds(self) => Some(None),
                Some(Ok(None)) => None,
                ended => Some(Some(format!("{ended:?}"))),
            }
        });
        match outcome {
            Ok(None) => Ok(()),
            Ok(Some(ended)) => bail!(
                "the agent on {} has ended ({ended}); {}",
                self.node,
                last_lines(&self.log)
            ),
            Err(error) => Err(error.context(last_lines(&self.log))),
        }
    }

    fn selectable(&self) -> Result<BTreeSet<SocketAddr>> {
        let rows = self.list("backend")?;
        let selectable = rows
            .iter()
            .filter(|row| row["slots"].as_u64().is_some_and(|slots| slots > 0));
        selectable
            .map(|row| {
                let address = row["address"]
                    .as_str()
                    .context("a backend has no address")?;
                Ok(address.parse()?)
            })
            .collect()
    }

    fn list(&self, what: &str) -> Result<Vec<Value>> {
        let ran = self.lb(&[what, "list", "-o", "json"])?;
        Ok(serde_json::from_str(&ran.output)?)
    }
}
