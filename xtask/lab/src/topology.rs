//! Nodes, an outside host and the network between them. Pods are added to a node (`pod`); what runs in them is `server`
//! and `process`.

mod cni;
mod host;
mod node;
mod pod;

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

use crate::netns::Netns;
use crate::sandbox::Sandbox;

pub use cni::Cni;
pub use host::Host;
pub use node::Node;
pub use pod::Pod;

/// The range of IPv4 Service VIPs. No route anywhere leads to it.
pub const VIPS_V4: &str = "10.96.0.0/16";
/// The range of IPv6 Service VIPs. No route anywhere leads to it.
pub const VIPS_V6: &str = "fd00:10:96::/112";

/// The last byte of the outside host's addresses, and of the nodes' default gateway.
const OUTSIDE: u8 = 254;
const MOST_NODES: u8 = 199;

/// A network of nodes and hosts. Dropping it removes everything (not in a kept sandbox).
#[derive(Debug)]
pub struct Lab {
    nodes: Vec<Node>,
    outside: Host,
    switch: Netns,
    settings: Settings,
    next_host: std::sync::atomic::AtomicU8,
}

/// Choices for a [`Lab`]; begin with [`Lab::builder`].
#[derive(Debug)]
pub struct LabBuilder {
    cnis: Vec<Cni>,
    cni: Cni,
    settings: Settings,
}

/// What every part of one lab has to know.
#[derive(Debug, Clone)]
struct Settings {
    prefix: String,
    mtu: u32,
}

impl Lab {
    /// One node, routed pods, MTU 1500, a prefix of its own, until told otherwise.
    pub fn builder() -> LabBuilder {
        LabBuilder {
            cnis: vec![],
            cni: Cni::Routed,
            settings: Settings {
                prefix: default_prefix(),
                mtu: 1500,
            },
        }
        .nodes(1)
    }

    /// The node `number`, counted from 1.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node(&self, number: usize) -> &Node {
        let node = number
            .checked_sub(1)
            .and_then(|index| self.nodes.get(index));
        node.unwrap_or_else(|| panic!("no node {number}: this lab has {}", self.nodes.len()))
    }

    /// All nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The host outside the cluster, 192.168.50.254 and fd00:50::fe: the nodes' default gateway, which forwards nothing,
    /// and a client that knows the way to nodes and pods, but to no VIP.
    pub fn outside(&self) -> &Host {
        &self.outside
    }

    /// Another host on the uplink network, as [`Lab::outside`] is but nobody's gateway.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_host(&self, name: &str) -> Result<Host> {
        let number = self.next_host.fetch_add(1, Ordering::Relaxed);
        ensure!(number < OUTSIDE, "no address is left for another host");
        let host = Host::create(&self.settings, name, number, &self.switch)?;
        plug_in(&self.switch, &[name])?;
        host.route_to_pods(self.nodes.len() as u8)?;
        host.uplink().wait_running()?;
        Ok(host)
    }

    /// The namespace that holds the bridge `br0` between the nodes; its ports have the nodes' names.
    pub fn switch(&self) -> &Netns {
        &self.switch
    }
}

impl LabBuilder {
    /// How many nodes, 1 to 199: `node1`, `node2` …
    pub fn nodes(mut self, count: usize) -> Self {
        self.cnis.resize(count, self.cni);
        self
    }

    /// How pods are attached, on every node.
    pub fn cni(mut self, cni: Cni) -> Self {
        self.cni = cni;
        self.cnis.fill(cni);
        self
    }

    /// How pods are attached on one node, counted from 1.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node_cni(mut self, number: usize, cni: Cni) -> Self {
        self.cnis[number - 1] = cni;
        self
    }

    /// MTU of every device, in bytes.
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.settings.mtu = bytes;
        self
    }

    /// What the namespaces' names begin with; by default `lab1-`, `lab2-` … or the kept sandbox's prefix.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.settings.prefix = prefix.to_owned();
        self
    }

    /// Makes it. All devices are up and running when it returns.
    ///
    /// # Errors
    /// Without root or sandbox, or when a name is taken.
    pub fn build(self) -> Result<Lab> {
        Sandbox::current()?;
        let count = self.cnis.len();
        ensure!(
            (1..=usize::from(MOST_NODES)).contains(&count),
            "a lab has 1 to {MOST_NODES} nodes, not {count}"
        );
        let count = count as u8;
        let settings = self.settings;
        let switch = Netns::create(&format!("{}switch", settings.prefix))?;
        // It forwards frames and has no address; its own IPv6 chatter would only be noise in captures.
        switch.set_sysctls(&[
            ("ipv6/conf/all/disable_ipv6", "1"),
            ("ipv6/conf/default/disable_ipv6", "1"),
        ])?;
        switch.ip(&[format!(
            "link add name br0 mtu {} type bridge mcast_snooping 0",
            settings.mtu
        )])?;
        let outside = Host::create(&settings, "outside", OUTSIDE, &switch)?;
        let mut nodes = Vec::new();
        for (number, cni) in (1..).zip(self.cnis) {
            nodes.push(Node::create(&settings, number, count, cni, &switch)?);
        }
        let mut ports: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        ports.push(&outside.name);
        plug_in(&switch, &ports)?;
        outside.route_to_pods(count)?;
        for node in &nodes {
            node.uplink().wait_running()?;
        }
        outside.uplink().wait_running()?;
        Ok(Lab {
            nodes,
            outside,
            switch,
            settings,
            next_host: (MOST_NODES + 1).into(),
        })
    }
}

/// Attaches the named ports to the switch's bridge.
fn plug_in(switch: &Netns, ports: &[&str]) -> Result<()> {
    let mut lines: Vec<String> = ports
        .iter()
        .map(|port| format!("link set {port} master br0 up"))
        .collect();
    lines.push("link set br0 up".into());
    switch.ip(&lines)
}

fn default_prefix() -> String {
    static LABS: AtomicU32 = AtomicU32::new(1);
    match Sandbox::current().ok().and_then(Sandbox::kept_prefix) {
        Some(prefix) => prefix.to_owned(),
        None => format!("lab{}-", LABS.fetch_add(1, Ordering::Relaxed)),
    }
}
