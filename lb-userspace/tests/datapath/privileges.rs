//! The agent with the privileges of a container of `deploy/kubernetes/daemonset.yaml`: they are enough for all that it does,
//! and none can be spared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::DaemonSet;
use lab::{Cgroup, Netns, Process, Sandbox};
use serde_json::Value;

use crate::support::{Node, node};

const PATIENCE: Duration = Duration::from_secs(60);

/// Of `include/uapi/linux/capability.h`; those that the manifest names or might.
const NUMBERS: [(&str, u32); 5] = [
    ("NET_ADMIN", 12),
    ("SYS_ADMIN", 21),
    ("SYS_RESOURCE", 24),
    ("PERFMON", 38),
    ("BPF", 39),
];

/// The manifest, the one place that says which capabilities there are.
fn capabilities() -> Result<BTreeMap<String, u32>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/daemonset.yaml");
    let set: DaemonSet = serde_saphyr::from_str(&fs::read_to_string(path)?)?;
    let pod = set.spec.and_then(|spec| spec.template.spec);
    let security = pod
        .as_ref()
        .and_then(|pod| pod.containers[0].security_context.as_ref());
    let added = security
        .and_then(|security| security.capabilities.as_ref()?.add.clone())
        .context("the container adds no capability")?;
    added
        .into_iter()
        .map(|name| {
            let number = NUMBERS.iter().find(|(known, _)| *known == name);
            let number = number
                .with_context(|| format!("what number has {name}?"))?
                .1;
            Ok((name, number))
        })
        .collect()
}

fn mask(capabilities: &BTreeMap<String, u32>) -> u64 {
    capabilities.values().map(|number| 1_u64 << number).sum()
}

/// A node with a pod, a cgroup, and a Service in manifests.
struct Place {
    node: Node,
    _pod: Netns,
    cgroup: Cgroup,
    capabilities: u64,
}

const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
";

impl Place {
    fn new(name: &'static str, capabilities: u64) -> Result<Self> {
        let node = node(name)?;
        let pod = node.add_pod("pod1", 11)?;
        fs::create_dir(Self::manifests(&node)?)?;
        fs::write(Self::manifests(&node)?.join("web.yaml"), MANIFEST)?;
        Ok(Self {
            cgroup: Cgroup::create(name)?,
            _pod: pod,
            node,
            capabilities,
        })
    }

    fn manifests(node: &Node) -> Result<std::path::PathBuf> {
        Ok(Sandbox::current()?
            .directory()
            .join(format!("{}-manifests", node.name)))
    }

    /// `lb` as the container runs it: these capabilities, no way to get others, nothing to write to but the pins.
    fn lb(&self) -> Result<lab::Command> {
        let shown = Sandbox::current()?
            .directory()
            .join(format!("{}-cgroup", self.node.name));
        if !shown.exists() {
            fs::create_dir(&shown)?;
        }
        let bpffs = self.node.paths.folder();
        let bpffs = bpffs.parent().context("the mount point")?;
        let mut command = self.node.netns.command(env!("CARGO_BIN_EXE_lb"));
        command
            .capabilities(self.capabilities)
            .no_new_privileges()
            .read_only_root()
            .bind(bpffs, bpffs)
            .bind_read_only(self.cgroup.path(), &shown)
            .env("LB_BPFFS", bpffs)
            .env("LB_CGROUP", shown);
        Ok(command)
    }

    fn agent(&self) -> Result<lab::Command> {
        let mut command = self.lb()?;
        command.args(["agent", "--node-name", self.node.name, "--manifests"]);
        command.arg(Self::manifests(&self.node)?);
        Ok(command)
    }

    fn asked(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.lb()?.args(arguments).args(["-o", "json"]).output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "lb {arguments:?}: {words}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Starts an agent and waits until everything has its programs and the Service is written by it.
    fn serve(&self) -> Result<Process> {
        let generation = |status: &Value| status["generation"].as_u64().unwrap_or(0);
        let before = self.asked(&["status"]).as_ref().map_or(0, generation);
        let mut agent = self.agent()?.spawn()?;
        let mut last = Value::Null;
        let deadline = Instant::now() + PATIENCE;
        loop {
            ensure!(agent.try_wait()?.is_none(), "the agent ended");
            if let Ok(status) = self.asked(&["status"]) {
                let devices = status["devices"].as_array();
                let attached = devices.into_iter().flatten().any(|device| {
                    let side = |side: &str| device[side].as_array().map_or(0, Vec::len);
                    device["device"] == "pod1" && side("ingress") == 1 && side("egress") == 1
                });
                let written = status["agent_running"] == true && generation(&status) > before;
                if attached && written {
                    return Ok(agent);
                }
                last = status;
            }
            ensure!(Instant::now() < deadline, "it does not serve: {last}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn of_process(process: u32, field: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    Ok(line.context("no such field")?.trim().to_owned())
}

#[test]
fn the_capabilities_of_the_daemon_set_are_enough_for_an_agent_its_successor_and_a_cleanup()
-> Result<()> {
    let capabilities = mask(&capabilities()?);
    let place = Place::new("priv-enough", capabilities)?;
    for _ in 0..2 {
        let mut agent = place.serve()?;
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            let found = u64::from_str_radix(&of_process(agent.id(), set)?, 16)?;
            assert_eq!(found, capabilities, "{set}");
        }
        assert_eq!(of_process(agent.id(), "NoNewPrivs:")?, "1");
        let services = place.asked(&["service", "list"])?.to_string();
        assert!(services.contains("10.96.0.10"), "{services}");
        let hooks = lb_userspace::datapath::attached_hooks(&place.node.paths)?;
        assert_eq!(hooks.attached, hooks.of, "programs at the cgroup");
        let frontends = place.asked(&["backend", "list"])?.to_string();
        assert!(frontends.contains("10.0.0.1"), "{frontends}");
        agent.signal(libc::SIGTERM)?;
        assert!(agent.wait()?.success());
    }
    place.asked(&["cleanup"])?;
    assert!(!place.node.paths.folder().exists(), "the pins are gone");
    Ok(())
}

#[test]
fn without_any_one_of_the_capabilities_the_agent_ends_and_names_it() -> Result<()> {
    let all = capabilities()?;
    for (name, number) in &all {
        let place_name: &'static str = match name.as_str() {
            "BPF" => "priv-no-bpf",
            "PERFMON" => "priv-no-perf",
            "NET_ADMIN" => "priv-no-net",
            _ => "priv-no-other",
        };
        let place = Place::new(place_name, mask(&all) & !(1 << number))?;
        let output = place.agent()?.output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name}: {words}");
        let sentence = format!("the process lacks CAP_{name}:");
        assert!(words.contains(&sentence), "{name}: {words}");
        let others = all.keys().filter(|other| *other != name);
        for other in others {
            assert!(!words.contains(&format!("lacks CAP_{other}")), "{words}");
        }
    }
    Ok(())
}
