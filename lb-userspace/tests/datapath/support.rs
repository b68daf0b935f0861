//! A network namespace that stands for a node, with pins of its own, and what the kernel says is attached there.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use lab::{Netns, Sandbox};
use lb_userspace::datapath::{Attach, Datapath, Links, Loader, PinPaths, Side, object};
use lb_userspace::maps::Limits;
use lb_userspace::model::Families;

/// A node with pins of its own.
pub struct Node {
    pub netns: Netns,
    pub paths: PinPaths,
    pub name: &'static str,
}

/// A node without devices. The name must be unique among the tests.
pub fn node(name: &'static str) -> Result<Node> {
    let bpffs = Sandbox::current()?.bpffs().join(name);
    std::fs::create_dir(&bpffs).with_context(|| format!("a folder of pins for {name}"))?;
    Ok(Node {
        netns: Netns::create(name)?,
        paths: PinPaths::new(bpffs),
        name,
    })
}

impl Node {
    /// A pod: a namespace of its own, with the other end of the node's `device`, whose index is given.
    pub fn add_pod(&self, device: &str, ifindex: u32) -> Result<Netns> {
        let pod = Netns::create(&format!("{}-{device}", self.name))?;
        self.netns.ip(&[format!(
            "link add {device} index {ifindex} type veth peer name eth0 netns {}",
            pod.name()
        )])?;
        Ok(pod)
    }

    /// Loads the embedded object with small maps.
    pub fn load(&self) -> Result<Datapath> {
        self.load_with(small_limits())
    }

    pub fn load_with(&self, limits: Limits) -> Result<Datapath> {
        let object = object::for_kernel()?;
        let paths = &self.paths;
        Ok(Loader {
            object,
            paths,
            limits,
            sockets: None,
            redirect: false,
        }
        .load()?)
    }

    /// What a starting agent has: freshly loaded programs, and the means to attach them.
    pub fn start(&self, attach: Attach) -> Result<(Datapath, Links)> {
        let datapath = self.load()?;
        let programs = datapath.programs().try_clone()?;
        Ok((datapath, Links::new(programs, self.paths.clone(), attach)?))
    }

    /// Ids of the programs that tcx runs on one side of a device, in their order.
    pub fn tcx_programs(&self, device: &str, side: Side) -> Result<Vec<u32>> {
        let side = match side {
            Side::Ingress => TcAttachType::Ingress,
            Side::Egress => TcAttachType::Egress,
        };
        let (_, programs) = self
            .netns
            .run(|| SchedClassifier::query_tcx(device, side))?;
        Ok(programs.iter().map(|program| program.id()).collect())
    }

    /// Ids of the programs that clsact runs on one side of a device.
    pub fn clsact_programs(&self, device: &str, side: Side) -> Result<Vec<u32>> {
        let filters = self.tc(&format!("-j filter show dev {device} {}", side.name()))?;
        let filters: serde_json::Value = serde_json::from_str(&filters)?;
        let ids = filters
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|filter| filter["options"]["prog"]["id"].as_u64());
        Ok(ids.map(|id| id as u32).collect())
    }

    /// Ids of all programs on one side of a device, by whichever mechanism.
    pub fn programs(&self, device: &str, side: Side) -> Result<Vec<u32>> {
        let mut programs = self.tcx_programs(device, side)?;
        programs.extend(self.clsact_programs(device, side)?);
        Ok(programs)
    }

    /// What `tc ARGUMENTS` prints in the node.
    pub fn tc(&self, arguments: &str) -> Result<String> {
        let output = self.netns.run(|| {
            std::process::Command::new("tc")
                .args(arguments.split(' '))
                .output()
        })?;
        ensure!(
            output.status.success(),
            "tc {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Names of the pinned links.
    pub fn link_pins(&self) -> Result<Vec<String>> {
        names(self.paths.links())
    }
}

/// Limits with which loading takes no time.
pub fn small_limits() -> Limits {
    Limits {
        families: Families::Both,
        frontends: 64,
        backends: 64,
        slots: 128,
        services: 64,
        flows: 700,
        conntrack: 1024,
        transient: 512,
        affinity: 64,
        sockets: 64,
    }
}

/// Sorted names of the files in a folder, none if there is no folder.
pub fn names(folder: PathBuf) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Holds that both sides of a device run the datapath's programs, each once, and nothing else does.
pub fn assert_attached_once(node: &Node, device: &str, datapath: &Datapath) -> Result<()> {
    let programs = datapath.programs();
    assert_eq!(
        (
            node.programs(device, Side::Ingress)?,
            node.programs(device, Side::Egress)?
        ),
        (
            vec![programs.from_workload.id],
            vec![programs.to_workload.id]
        ),
        "programs on {device}"
    );
    Ok(())
}
