//! A cluster for one test: nodes that each run the real agent, one directory of manifests for all of them, and pods. It
//! tells what is published and waits until the agents have it; it makes no request.

mod agent;
mod service;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, ensure};
use lab::{Cni, Lab, Netns, Pod, Sandbox, checksum_errors};

pub use agent::{Agent, Flags};
pub use service::{DATAGRAMS, Endpoint, HTTP, Port, STREAMS, Service};

/// The cluster of one test.
pub struct Cluster {
    agents: Vec<Agent>,
    pods: Vec<Pod>,
    /// The network.
    pub lab: Lab,
    manifests: PathBuf,
    /// All namespaces that ever were, for the checksum errors that they counted.
    namespaces: Vec<Netns>,
}

/// Choices for a cluster.
pub struct Builder {
    nodes: usize,
    cni: Cni,
    flags: Flags,
    agents_run: bool,
}

impl Cluster {
    /// Two nodes with routed pods and a running agent each, until told otherwise.
    pub fn builder() -> Builder {
        Builder {
            nodes: 2,
            cni: Cni::Routed,
            // Small maps: dozens of agents run in one test binary.
            flags: [
                ("--max-frontends", "256"),
                ("--max-backends", "256"),
                ("--max-services", "256"),
                ("--max-slots", "8192"),
                ("--max-conntrack", "65536"),
                ("--max-flows", "7168"),
                ("--max-transient", "32768"),
                // The root cgroup is the machine's.
                ("--socket-lb", "off"),
            ]
            .into(),
            agents_run: true,
        }
    }

    /// The agent of a node, counted from 1.
    pub fn agent(&mut self, node: usize) -> &mut Agent {
        &mut self.agents[node - 1]
    }

    /// Starts the agents that do not run.
    pub fn start_agents(&mut self) -> Result<()> {
        for agent in self.agents.iter_mut().filter(|agent| !agent.is_started()) {
            agent.start()?;
        }
        self.agents.iter_mut().try_for_each(Agent::wait_until_ready)
    }

    /// A pod without servers on a node, counted from 1. Where an agent runs it has attached to the pod's device.
    pub fn client(&mut self, node: usize, name: &str) -> Result<Pod> {
        let pod = self.lab.node(node).add_pod(name)?;
        self.take_in(node, &pod)?;
        Ok(pod)
    }

    /// A pod that serves what a [`Service`] leads to. Its checksums are real ones, so that wrong ones are counted.
    pub fn backend(&mut self, node: usize, name: &str) -> Result<Pod> {
        let pod = self.client(node, name)?;
        serve(&pod)?;
        Ok(pod)
    }

    /// A [`backend`](Cluster::backend) with the addresses of one that is gone.
    pub fn backend_in_place_of(&mut self, gone: Pod, name: &str) -> Result<Pod> {
        let (ipv4, ipv6) = (gone.ipv4, gone.ipv6);
        let nodes = self.lab.nodes().iter();
        let node = nodes.take_while(|node| node.name != gone.node).count() + 1;
        gone.delete()?;
        let pod = self.lab.node(node).add_pod_with_ips(name, ipv4, ipv6)?;
        // What the announcement of a new pod by its CNI plugin does: nobody sends to the old one's Ethernet address.
        self.lab.node(node).netns.ip(&["neigh flush all"])?;
        self.take_in(node, &pod)?;
        serve(&pod)?;
        Ok(pod)
    }

    /// Lets pods live as long as the cluster.
    pub fn keep(&mut self, pods: impl IntoIterator<Item = Pod>) {
        self.pods.extend(pods);
    }

    /// Two Services with one backend each, the first on node 1, the second on node 2.
    pub fn near_and_far(&mut self) -> Result<[(Service, Pod); 2]> {
        let near = (Service::new("near", 1), self.backend(1, "b-near")?);
        let far = (Service::new("far", 2), self.backend(2, "b-far")?);
        for (service, pod) in [&near, &far] {
            self.publish(service, &[Endpoint::of(pod)])?;
        }
        Ok([near, far])
    }

    /// Writes a Service and its EndpointSlices, or what has become of them, and waits until every running agent leads new
    /// connections to exactly these endpoints.
    pub fn publish(&mut self, service: &Service, endpoints: &[Endpoint]) -> Result<()> {
        self.write(&service.file(), &service.manifests(endpoints))?;
        for agent in self.agents.iter_mut().filter(|agent| agent.is_started()) {
            agent.wait_until_serves(service, endpoints)?;
        }
        Ok(())
    }

    /// Removes a Service and waits until no running agent knows it.
    pub fn withdraw(&mut self, service: &Service) -> Result<()> {
        fs::remove_file(self.manifests.join(service.file()))?;
        for agent in self.agents.iter_mut().filter(|agent| agent.is_started()) {
            agent.wait_until_withdrawn(service)?;
        }
        Ok(())
    }

    /// Writes a manifest in one go: whoever reads sees the old text or the new one.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let draft = self.manifests.join(format!(".{file}"));
        fs::write(&draft, text).with_context(|| draft.display().to_string())?;
        fs::rename(&draft, self.manifests.join(file))?;
        Ok(())
    }

    fn take_in(&mut self, node: usize, pod: &Pod) -> Result<()> {
        self.namespaces.push(pod.netns.clone());
        let agent = &mut self.agents[node - 1];
        if agent.is_started() {
            agent.wait_until_attached(pod)?;
        }
        Ok(())
    }

    fn assert_no_checksum_errors(&self) -> Result<()> {
        for netns in &self.namespaces {
            let errors = checksum_errors(netns)?;
            ensure!(errors == 0, "{netns:?} counted {errors} wrong checksums");
        }
        Ok(())
    }

    fn print_logs(&self) {
        for agent in &self.agents {
            eprintln!("--- log of the agent on {}\n{}", agent.node, agent.log());
        }
    }
}

impl Builder {
    /// How many nodes.
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = count;
        self
    }

    /// How pods are attached to their nodes.
    pub fn cni(mut self, cni: Cni) -> Self {
        self.cni = cni;
        self
    }

    /// A flag of every agent.
    pub fn flag(mut self, flag: &'static str, value: &'static str) -> Self {
        self.flags.insert(flag, value);
        self
    }

    /// No agent runs before [`Cluster::start_agents`].
    pub fn without_agents(mut self) -> Self {
        self.agents_run = false;
        self
    }

    /// Makes the cluster and holds `body` against it. Fails too when a namespace has counted a wrong checksum, and shows
    /// the agents' logs with every failure.
    pub fn test(self, body: impl FnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
        let mut cluster = self.build()?;
        let outcome = body(&mut cluster).and_then(|()| cluster.assert_no_checksum_errors());
        if outcome.is_err() {
            cluster.print_logs();
        }
        outcome
    }

    fn build(self) -> Result<Cluster> {
        let lab = Lab::builder().nodes(self.nodes).cni(self.cni).build()?;
        let sandbox = Sandbox::current()?;
        // Names of namespaces are unique in the process.
        let manifests = sandbox.directory().join(lab.switch().name());
        fs::create_dir(&manifests).with_context(|| manifests.display().to_string())?;
        let agents: Result<Vec<Agent>> = lab
            .nodes()
            .iter()
            .map(|node| Agent::new(node, &manifests, self.flags.clone()))
            .collect();
        let mut namespaces = vec![lab.outside().netns.clone()];
        namespaces.extend(lab.nodes().iter().map(|node| node.netns.clone()));
        let mut cluster = Cluster {
            lab,
            manifests,
            agents: agents?,
            pods: Vec::new(),
            namespaces,
        };
        if self.agents_run {
            cluster.start_agents()?;
        }
        Ok(cluster)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            self.print_logs();
        }
    }
}

fn serve(pod: &Pod) -> Result<()> {
    pod.set_tx_checksum_offload(false)?;
    pod.serve_http(HTTP.target)?;
    pod.serve_udp(DATAGRAMS.target)?;
    pod.serve_stream(STREAMS.target)
}

/// Removes a directory on bpffs with all that is pinned in it, so that the maps' memory is free for the next test.
fn remove_pins(directory: &Path) {
    // What can't be removed goes with the sandbox.
    let _ = fs::remove_dir_all(directory);
}
