//! The agents on the nodes: their pods, processes, logs, and what they answer.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use lab::client::raw_get;
use serde_json::Value;

use super::{Cluster, Node, eventually};
use crate::deployed::PATIENCE;

impl Cluster {
    /// The Pod objects of all agents, but for those that are going.
    pub fn agents(&self) -> Result<Vec<Value>> {
        let pods = self.get("-n kube-system pods -l app.kubernetes.io/name=lb")?;
        let pods = pods["items"].as_array().context("items")?;
        let stay = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        Ok(pods.iter().filter(stay).cloned().collect())
    }

    /// The name of the pod of a node's agent.
    pub fn agent(&self, node: usize) -> Result<String> {
        let node = &self.nodes[node].name;
        let agents = self.agents()?;
        let of_node = |pod: &&Value| pod["spec"]["nodeName"] == node.as_str();
        let agent = agents.iter().find(of_node);
        let agent = agent.with_context(|| format!("{node} has no agent"))?;
        Ok(agent["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Deletes the pod of a node's agent, and returns the name of the one that the DaemonSet makes in its place as soon as it
    /// has a process.
    pub fn replace_agent(&self, node: usize) -> Result<String> {
        let before = self.agent(node)?;
        self.kubectl(&format!("-n kube-system delete pod {before}"))?;
        let agent = eventually("the next agent", PATIENCE, || {
            let agent = self.agent(node)?;
            let has_log = self.log(node, &agent).is_ok_and(|log| !log.is_empty());
            Ok((agent != before && has_log).then_some(agent))
        })?;
        Ok(agent)
    }

    /// What an agent has logged so far.
    pub fn log(&self, node: usize, agent: &str) -> Result<String> {
        self.nodes[node].kubelet.logs("kube-system", agent)
    }

    /// The names and logs of all agents.
    pub fn logs(&self) -> Vec<(String, String)> {
        let agents = self.agents().unwrap_or_default();
        let log = |pod: &Value| {
            let name = pod["metadata"]["name"].as_str()?.to_owned();
            let log = self.node_of(pod)?.kubelet.logs("kube-system", &name).ok()?;
            Some((name, log))
        };
        agents.iter().filter_map(log).collect()
    }
}

impl Node {
    /// The process of the node's agent.
    pub fn agent_process(&self) -> Result<u32> {
        let threads = fs::read_to_string(self.cgroup.path().join("cgroup.threads"))?;
        let is_agent = |thread: &&str| {
            fs::read(format!("/proc/{thread}/cmdline"))
                .is_ok_and(|line| line.ends_with(b"/lb\0agent\0"))
        };
        let processes: BTreeSet<u32> = threads
            .lines()
            .filter(is_agent)
            .filter_map(|thread| field(thread, "Tgid")?.parse().ok())
            .collect();
        let processes: Vec<u32> = processes.into_iter().collect();
        ensure!(
            processes.len() == 1,
            "{} has the agents {processes:?}",
            self.name
        );
        Ok(processes[0])
    }

    /// What a tool of the agent's image prints on the node, as root.
    pub fn lb(&self, words: &[&str]) -> Result<String> {
        let mut command = self.netns.command(env!("CARGO_BIN_EXE_lb"));
        let output = command
            .bind(&self.bpffs, "/sys/fs/bpf")
            .args(words)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "lb {words:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The status code and the body of `GET PATH` at a port on the node's loopback device.
    pub fn ask(&self, port: u16, path: &str) -> Result<(u16, String)> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let answer = raw_get(&self.netns, at, path)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        let code = head.split(' ').nth(1).context("no status")?;
        Ok((code.parse()?, body.to_owned()))
    }
}

/// A field of `/proc/PROCESS/status`.
pub fn field(process: &str, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}
