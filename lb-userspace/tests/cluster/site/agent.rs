//! The agent of a node, on a kubeconfig: started, killed and asked as an operator would.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use lab::client::raw_get;
use lab::{Netns, Pod, Process, Sandbox, wait_for, wait_until};

use super::PATIENCE;

/// An agent, and what it leaves behind when it is gone.
pub struct Agent {
    netns: Netns,
    node: String,
    kubeconfig: PathBuf,
    bpffs: PathBuf,
    log: PathBuf,
    process: Option<Process>,
    /// What it is started with in its environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Agent {
    pub(super) fn new(
        netns: &Netns,
        node: &str,
        kubeconfig: &Path,
        directory: &Path,
    ) -> Result<Self> {
        let bpffs = Sandbox::current()?.bpffs().join(node);
        fs::create_dir(&bpffs).with_context(|| bpffs.display().to_string())?;
        Ok(Self {
            netns: netns.clone(),
            node: node.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            bpffs,
            log: directory.join("agent.log"),
            process: None,
            environment: Vec::new(),
        })
    }

    /// Starts it. It may not have written anything yet.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "there is an agent");
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
            // Small maps: many agents run in one test binary.
            .args(["--max-frontends", "4096", "--max-backends", "4096"])
            .args(["--max-services", "4096", "--max-slots", "65536"])
            .args(["--max-conntrack", "65536"])
            // The root cgroup is the machine's.
            .args(["--socket-lb", "off"]);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        self.process = Some(command.stderr(log).spawn()?);
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("no agent runs")?;
        process.kill()?;
        Ok(())
    }

    /// Whether it is at work, by the kernel's word.
    pub fn is_alive(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Waits until both sides of a pod's device run a program.
    pub fn wait_until_attached(&mut self, pod: &Pod) -> Result<()> {
        let netns = self.netns.clone();
        let programs = |side| {
            netns
                .run(|| SchedClassifier::query_tcx(&pod.host_device, side))
                .map_or(0, |(_, programs)| programs.len())
        };
        wait_until("programs on the pod's device", PATIENCE, || {
            !self.is_alive()
                || programs(TcAttachType::Ingress) + programs(TcAttachType::Egress) == 2
        })?;
        ensure!(self.is_alive(), "the agent has ended: {}", self.log());
        Ok(())
    }

    /// All that it and its predecessors have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until a line of the log holds all of `words`.
    pub fn wait_for_log(&self, words: &[&str]) -> Result<String> {
        wait_for(&format!("a line with {words:?}"), PATIENCE, || {
            let log = self.log();
            let mut lines = log.lines();
            lines
                .find(|line| words.iter().all(|word| line.contains(word)))
                .map(str::to_owned)
        })
    }

    /// The status code and the body of `GET PATH` at the port for probes.
    pub fn probe(&self, path: &str) -> Result<(u16, String)> {
        self.get(10256, path)
    }

    /// The value of a metric, by its name with all labels, as in `up{job="lb"}`.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let (code, text) = self.get(10249, "/metrics")?;
        ensure!(code == 200, "/metrics answers {code}");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.with_context(|| format!("no metric {name} in {text}"))?;
        Ok(value.trim().parse()?)
    }

    /// What `lb WORDS` prints on this node.
    pub fn lb(&self, words: &[&str]) -> Result<String> {
        let mut command = self.netns.command(env!("CARGO_BIN_EXE_lb"));
        let output = command
            .arg("--bpffs")
            .arg(&self.bpffs)
            .args(words)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "lb {words:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Where the maps are pinned.
    pub fn pins(&self) -> PathBuf {
        let layout = lb_common::layout::LAYOUT;
        self.bpffs.join("lb").join(format!("v{layout}"))
    }

    fn get(&self, port: u16, path: &str) -> Result<(u16, String)> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let answer = raw_get(&self.netns, at, path)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        let code = head.split(' ').nth(1).context("no status")?;
        Ok((code.parse()?, body.to_owned()))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process = None;
        // What can't be removed goes with the sandbox.
        let _ = fs::remove_dir_all(&self.bpffs);
    }
}
