//! The one cluster that all tests share: a real control plane, six nodes in three zones, a kubelet and an agent on each.
//! Tests stay apart by Kubernetes namespace; `case` is how they see it.

mod agent;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Result, anyhow};
use cluster::kubelet::Kubelet;
use cluster::{ControlPlane, Identity, Options, Relay};
use kube::Client;
use lab::{Cgroup, Lab, Node};
use tokio::runtime::Runtime;

use agent::Agent;

/// Two nodes in each; tests of traffic distribution want that many.
const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];
const NODES: usize = 2 * ZONES.len();
/// Where nodes find the API server; the Service `kubernetes` leads to the first one's.
const API_PORT: u16 = 6443;

static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();

/// A running cluster. It ends with the process, and leaves nothing behind.
pub struct Cluster {
    agents: Mutex<Vec<Agent>>,
    kubelets: Vec<Kubelet>,
    _relays: Vec<Relay>,
    /// What stands for the root of each node's cgroups.
    cgroups: Vec<Arc<Cgroup>>,
    client: Client,
    lab: Arc<Lab>,
    /// For tests that restart a part of it.
    pub control_plane: ControlPlane,
    runtime: Runtime,
}

impl Cluster {
    /// The cluster, started by whoever asks first.
    ///
    /// # Errors
    /// Without root, or when a part of it does not start: the same for each that asks.
    pub fn shared() -> Result<&'static Cluster> {
        let started = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// A client that may do everything. It belongs to [`Cluster::wait`]'s runtime.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Waits for what is asked of the API server.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.lab.nodes().len()
    }

    /// A node, counted from 1.
    pub fn node(&self, number: usize) -> &Node {
        self.lab.node(number)
    }

    /// The zone of a node, counted from 1.
    pub fn zone(number: usize) -> &'static str {
        ZONES[(number - 1) / 2]
    }

    /// The kubelet of a node, counted from 1.
    pub fn kubelet(&self, number: usize) -> &Kubelet {
        &self.kubelets[number - 1]
    }

    /// The cgroup in which the processes of a node's own network are, by the node's number counted from 1.
    pub fn cgroup(&self, number: usize) -> Arc<Cgroup> {
        self.cgroups[number - 1].clone()
    }

    /// Kills every agent and starts it again.
    ///
    /// # Errors
    /// When one does not get ready.
    pub fn restart_agents(&self) -> Result<()> {
        let mut agents = self.agents();
        agents.iter_mut().try_for_each(Agent::restart)?;
        agents.iter_mut().try_for_each(Agent::wait_until_ready)
    }

    fn start() -> Result<Cluster> {
        let lab = Arc::new(Lab::builder().nodes(NODES).build()?);
        let control_plane = ControlPlane::start(Options {
            advertise_address: lab.node(1).ipv4.into(),
            ..Options::default()
        })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let client = runtime.block_on(control_plane.client())?;
        let (mut relays, mut kubelets) = (Vec::new(), Vec::new());
        let (mut agents, mut cgroups) = (Vec::new(), Vec::new());
        for node in lab.nodes() {
            let number = usize::from(node.number);
            let kubelet = Kubelet::builder(&control_plane, &lab, number)
                .label("topology.kubernetes.io/zone", Self::zone(number))
                .checksum_offload(false);
            kubelets.push(kubelet.start()?);
            let relay = control_plane.relay(&node.netns, (node.ipv4, API_PORT).into())?;
            let kubeconfig = control_plane.kubeconfig_for(&Identity::Admin, relay.address())?;
            relays.push(relay);
            let cgroup = Cgroup::create(&node.name)?;
            agents.push(Agent::start(node, &kubeconfig, cgroup.path())?);
            cgroups.push(Arc::new(cgroup));
        }
        agents.iter_mut().try_for_each(Agent::wait_until_ready)?;
        Ok(Cluster {
            agents: Mutex::new(agents),
            kubelets,
            _relays: relays,
            cgroups,
            client,
            lab,
            control_plane,
            runtime,
        })
    }

    fn agents(&self) -> MutexGuard<'_, Vec<Agent>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the agents of the shared cluster have logged, if there is one.
pub fn logs() -> String {
    let Some(Ok(cluster)) = SHARED.get() else {
        return String::new();
    };
    let logs: Vec<String> = cluster.agents().iter().map(Agent::log).collect();
    logs.join("\n")
}
