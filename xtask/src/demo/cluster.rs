//! The cluster of the demonstration: nodes, pods with their servers, agents, and the manifests between them. What is
//! done with it is told in `story`.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use lab::{Cni, Host, Lab, Node, Pod, Sandbox};

use super::agent::Agent;
use super::endpoints::Endpoints;
use super::manifests::Manifests;
use super::servers::{Program, Server};
use super::services::{BACKEND, KUBE_DNS, MYSQL, REDIS, Service};
use super::shell::{self, Dns, Ran};

/// What every namespace's name begins with.
pub const PREFIX: &str = "lb-demo-";

/// Everything there is. Dropping it removes it, but for a kept sandbox.
#[derive(Debug)]
pub struct Cluster {
    pub agents: Vec<Agent>,
    pub front_end: Pod,
    pub workloads: Vec<Workload>,
    /// A machine that is not of the cluster.
    pub stranger: Host,
    pub manifests: Manifests,
    /// From the last change of EndpointSlices until it was seen in the maps of all nodes.
    pub followed_in: Duration,
    endpoints: Endpoints,
    lab: Lab,
}

/// A pod behind a Service.
#[derive(Debug)]
pub struct Workload {
    pub service: &'static Service,
    pub pod: Pod,
    pub server: Server,
}

/// Service, pod, number of the node, what runs in the pod.
type Plan = (&'static Service, &'static str, usize, Program);

static PODS: [Plan; 6] = [
    (&BACKEND, "backend-1", 1, Program::Nginx),
    (&BACKEND, "backend-2", 2, Program::Nginx),
    (&BACKEND, "backend-3", 2, Program::Nginx),
    (&REDIS, "redis-1", 2, Program::Redis),
    (&MYSQL, "mysql-1", 1, Program::Mariadb),
    (&KUBE_DNS, "kube-dns-1", 2, Program::Dnsmasq),
];

impl Cluster {
    /// Makes nodes and pods, starts the servers and waits until each answers. No agent runs yet.
    ///
    /// # Errors
    /// When a namespace cannot be made or a server does not answer.
    pub fn create(lb: &Path) -> Result<Self> {
        let sandbox = Sandbox::current()?;
        let lab = Lab::builder()
            .prefix(PREFIX)
            .nodes(2)
            .node_cni(1, Cni::Bridge)
            .node_cni(2, Cni::Routed)
            .build()?;
        let stranger = lab.add_host("stranger")?;
        let front_end = lab.node(1).add_pod("front-end")?;
        let manifests = Manifests::create(sandbox.directory().join("manifests"), lab.nodes())?;
        let agents = lab.nodes().iter().map(|node| {
            Agent::new(
                node,
                lb,
                sandbox.bpffs(),
                manifests.directory(),
                sandbox.directory(),
            )
        });
        let mut cluster = Self {
            agents: agents.collect::<Result<_>>()?,
            front_end,
            workloads: Vec::new(),
            stranger,
            manifests,
            followed_in: Duration::ZERO,
            endpoints: Endpoints::default(),
            lab,
        };
        cluster.add_pods(&PODS)?;
        Ok(cluster)
    }

    /// Makes a pod, starts its server, waits until it answers, and lists it in the EndpointSlices.
    ///
    /// # Errors
    /// When the namespace cannot be made or the server does not answer.
    pub fn add_pod(
        &mut self,
        service: &'static Service,
        name: &'static str,
        node: usize,
        program: Program,
    ) -> Result<()> {
        self.add_pods(&[(service, name, node, program)])
    }

    /// Takes a pod away as Kubernetes does, with a server that finishes what it has begun: its EndpointSlices say that it
    /// terminates; when the nodes know, `drained` is told how long that took, then the server is asked to end, and the pod
    /// goes.
    ///
    /// # Errors
    /// When a step takes too long, and those of `drained`.
    pub fn delete_pod(
        &mut self,
        name: &str,
        drained: impl FnOnce(Duration) -> Result<()>,
    ) -> Result<()> {
        self.endpoints.terminate(name);
        self.publish()?;
        drained(self.followed_in)?;
        let position = self.workloads.iter().position(|one| one.pod.name == name);
        let position = position.with_context(|| format!("no pod {name}"))?;
        let mut workload = self.workloads.remove(position);
        workload.server.quit()?;
        workload.pod.delete()?;
        self.endpoints.remove(name);
        self.publish()
    }

    /// Starts an agent on each node and waits until all that the manifests say is in its maps.
    ///
    /// # Errors
    /// When an agent ends or takes too long.
    pub fn start_agents(&mut self) -> Result<()> {
        self.agents.iter_mut().try_for_each(Agent::start)?;
        self.wait_for_backends()
    }

    /// The pod with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        let mut pods = self.workloads.iter().map(|workload| &workload.pod);
        pods.find(|pod| pod.name == name)
            .with_context(|| format!("no pod {name}"))
    }

    /// The names of a Service's pods, sorted.
    pub fn pods_of(&self, service: &Service) -> Vec<String> {
        let of_service = self
            .workloads
            .iter()
            .filter(|workload| std::ptr::eq(workload.service, service));
        let mut names: Vec<String> = of_service
            .map(|workload| workload.pod.name.clone())
            .collect();
        names.sort();
        names
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        self.lab.nodes()
    }

    /// Runs a command in a pod, with the cluster DNS.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, pod: &Pod, words: &[&str]) -> Result<Ran> {
        shell::run(&pod.netns, &pod.name, Dns::cluster(), words)
    }

    fn add_pods(&mut self, plans: &[Plan]) -> Result<()> {
        let directory = Sandbox::current()?.directory().join("pods");
        let mut pods = Vec::new();
        for &(service, name, node, program) in plans {
            pods.push((service, self.lab.node(node).add_pod(name)?, program));
        }
        // Side by side, since the database takes seconds to get up.
        let started: Vec<Result<Workload>> = thread::scope(|scope| {
            let threads: Vec<_> = pods
                .into_iter()
                .map(|(service, pod, program)| {
                    let directory = directory.join(&pod.name);
                    scope.spawn(move || {
                        let mut server = program.start(&pod, &directory)?;
                        server.wait_ready(&pod)?;
                        Ok(Workload {
                            service,
                            pod,
                            server,
                        })
                    })
                })
                .collect();
            let joined = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow!("a server's thread panicked"))
                    .flatten()
            });
            joined.collect()
        });
        for workload in started {
            let workload = workload?;
            let Pod { name, node, .. } = &workload.pod;
            self.endpoints
                .add(workload.service, name, node, workload.pod.addresses());
            self.workloads.push(workload);
        }
        self.publish()
    }

    /// Writes the EndpointSlices, and waits until the agents that run have followed.
    fn publish(&mut self) -> Result<()> {
        let start = Instant::now();
        self.manifests.publish(&self.endpoints)?;
        self.wait_for_backends()?;
        self.followed_in = start.elapsed();
        Ok(())
    }

    fn wait_for_backends(&mut self) -> Result<()> {
        let expected: BTreeSet<_> = self.endpoints.ready().collect();
        let mut running = self.agents.iter_mut().filter(|agent| agent.is_started());
        running.try_for_each(|agent| agent.wait_for_backends(&expected))
    }
}
