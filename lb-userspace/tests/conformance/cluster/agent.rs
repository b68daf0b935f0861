//! The agent of one node: started, killed and started again.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Netns, Node, Process, Sandbox, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// An agent. Dropping it kills it.
pub struct Agent {
    node: String,
    netns: Netns,
    kubeconfig: PathBuf,
    bpffs: PathBuf,
    cgroup: PathBuf,
    /// All that it and its predecessors have logged.
    log: PathBuf,
    process: Option<Process>,
    /// The agent that the maps named when this one was started, and how often they had been written.
    predecessor: (u64, u64),
}

impl Agent {
    /// Starts the agent of a node; it may not be ready yet.
    pub fn start(node: &Node, kubeconfig: &str, cgroup: &Path) -> Result<Self> {
        let sandbox = Sandbox::current()?;
        let bpffs = sandbox.bpffs().join(&node.name);
        fs::create_dir(&bpffs).with_context(|| bpffs.display().to_string())?;
        let file = sandbox
            .directory()
            .join(format!("{}.kubeconfig", node.name));
        fs::write(&file, kubeconfig).with_context(|| file.display().to_string())?;
        let mut agent = Self {
            node: node.name.clone(),
            netns: node.netns.clone(),
            kubeconfig: file,
            bpffs,
            cgroup: cgroup.to_owned(),
            log: sandbox.directory().join(format!("{}.agent.log", node.name)),
            process: None,
            predecessor: (0, 0),
        };
        agent.run()?;
        Ok(agent)
    }

    /// Kills it and starts it again; it may not be ready yet.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
        }
        self.run()
    }

    /// Waits until it has written what the API server has.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let what = format!("the first state of the agent on {}", self.node);
        let waited = wait_until(&what, PATIENCE, || {
            let before = self.predecessor;
            let is_new = |(process, generation)| process != before.0 && generation > before.1;
            !self.is_alive() || self.incarnation().is_ok_and(is_new)
        });
        waited.with_context(|| self.log())?;
        ensure!(
            self.is_alive(),
            "{} has no agent any more: {}",
            self.node,
            self.log()
        );
        Ok(())
    }

    /// What was logged at level WARN or above, and the last lines.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let recent = lines.len().saturating_sub(15);
        let grave = |line: &str| line.contains("WARN") || line.contains("ERROR");
        let told = lines
            .iter()
            .enumerate()
            .filter(|(index, line)| *index >= recent || grave(line));
        let told: Vec<&str> = told.map(|(_, line)| *line).collect();
        format!("--- agent on {}\n{}", self.node, told.join("\n"))
    }

    fn is_alive(&mut self) -> bool {
        let process = self.process.as_mut();
        process.is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Process id of the agent that the maps name, and how often they were written.
    fn incarnation(&self) -> Result<(u64, u64)> {
        let mut command = self.netns.command(env!("CARGO_BIN_EXE_lb"));
        command.arg("--bpffs").arg(&self.bpffs);
        let output = command.args(["status", "-o", "json"]).output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let number = |field: &str| status[field].as_u64().context(field.to_owned());
        Ok((number("agent_pid")?, number("generation")?))
    }

    fn run(&mut self) -> Result<()> {
        self.predecessor = self.incarnation().unwrap_or_default();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = self.netns.command(env!("CARGO_BIN_EXE_lb"));
        command
            .arg("--bpffs")
            .arg(&self.bpffs)
            .args(["agent", "--node-name", &self.node, "--kubeconfig"])
            .arg(&self.kubeconfig)
            // Small maps: there are many nodes on this machine.
            .args(["--max-frontends", "4096", "--max-backends", "4096"])
            .args(["--max-services", "4096", "--max-slots", "65536"])
            .args(["--max-conntrack", "65536"])
            // The root cgroup is the machine's.
            .arg("--cgroup")
            .arg(&self.cgroup);
        self.process = Some(command.stderr(log).spawn()?);
        Ok(())
    }
}
