//! What one test needs: a node with pods and an agent, a way to the API server whose weather the test makes, and a
//! Kubernetes namespace. Endpoints are written by the test, so no kubelet is needed.

mod agent;
mod maps;
mod objects;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster::weather::{Upstream, Weather};
use cluster::{ControlPlane, Identity};
use lab::client::{Kind, Load, Options};
use lab::{Lab, Pod, Sandbox, checksum_errors, wait_until};
use tokio::runtime::Runtime;

pub use agent::Agent;
pub use maps::{Dump, Vigil};
pub use objects::{Objects, Service, TARGET};

/// How long an agent may take for anything while the weather is good.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take after bad weather: its longest pause between two tries, and a little.
pub const RECOVERY: Duration = Duration::from_secs(35);

/// A node with an agent, and all around it.
pub struct Site {
    /// The node's agent.
    pub agent: Agent,
    /// What is between the agent and the API server.
    pub weather: Weather,
    /// What is in the Kubernetes namespace.
    pub objects: Objects,
    /// A pod that the loads come from.
    pub client: Pod,
    pods: Vec<Pod>,
    lab: Lab,
}

/// Connections to VIPs, of which none may fail.
pub struct Loads(Vec<(SocketAddr, Load)>);

impl Site {
    /// Makes it and holds `body` against it. Fails too when a namespace has counted a wrong checksum, and shows the agent's
    /// log with every failure.
    pub fn test(
        control_plane: &ControlPlane,
        body: impl FnOnce(&mut Site) -> Result<()>,
    ) -> Result<()> {
        let mut site = Self::new(control_plane)?;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            body(&mut site).and_then(|()| site.assert_no_checksum_errors())
        }));
        if !matches!(outcome, Ok(Ok(()))) {
            let status = site.agent.lb(&["status"]).unwrap_or_default();
            eprintln!(
                "--- status\n{status}\n--- log of the agent\n{}",
                site.agent.log()
            );
        }
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A pod that serves what a [`Service`] leads to.
    pub fn backend(&mut self, name: &str) -> Result<Pod> {
        let pod = self.lab.node(1).add_pod(name)?;
        pod.set_tx_checksum_offload(false)?;
        pod.serve_http(TARGET)?;
        Ok(pod)
    }

    /// A pod without servers that the agent has attached to.
    pub fn client(&mut self, name: &str) -> Result<Pod> {
        let pod = self.lab.node(1).add_pod(name)?;
        pod.set_tx_checksum_offload(false)?;
        self.agent.wait_until_attached(&pod)?;
        Ok(pod)
    }

    /// Makes the machine that the weather is on unreachable without a word, or reachable again.
    pub fn reach_weather(&self, reachable: bool) -> Result<()> {
        let state = if reachable { "up" } else { "down" };
        let outside = &self.lab.outside().netns;
        outside.ip(&[format!("link set eth0 {state}")])
    }

    /// Lets pods live as long as the site.
    pub fn keep(&mut self, pods: impl IntoIterator<Item = Pod>) {
        self.pods.extend(pods);
    }

    /// Makes a Service that leads to these pods, and waits until the agent serves it.
    pub fn publish(&self, name: &str, pods: &[&Pod]) -> Result<Service> {
        let service = self.objects.put_service(name)?;
        self.objects.lead(&service, pods)?;
        self.wait_until_serves(&service, pods, PATIENCE)?;
        Ok(service)
    }

    /// Waits until new connections to the Service are led to exactly these pods, and returns how long that took.
    pub fn wait_until_serves(
        &self,
        service: &Service,
        pods: &[&Pod],
        patience: Duration,
    ) -> Result<Duration> {
        let start = Instant::now();
        let frontends = BTreeSet::from(service.at());
        let targets: BTreeSet<SocketAddr> =
            pods.iter().flat_map(|pod| pod.sockets(TARGET)).collect();
        let what = format!("Service {} to lead to {targets:?}", service.name);
        wait_until(&what, patience, || {
            let dump = self.dump().unwrap_or_default();
            dump.frontends(&service.name) == frontends && dump.targets(&service.name) == targets
        })?;
        Ok(start.elapsed())
    }

    /// Waits until the Service has no frontend, and returns how long that took.
    pub fn wait_until_withdrawn(&self, service: &Service, patience: Duration) -> Result<Duration> {
        let start = Instant::now();
        let what = format!("Service {} to be gone", service.name);
        wait_until(&what, patience, || {
            self.dump()
                .is_ok_and(|dump| dump.frontends(&service.name).is_empty())
        })?;
        Ok(start.elapsed())
    }

    /// What the maps hold of the namespace's Services.
    pub fn dump(&self) -> Result<Dump> {
        Dump::read(&self.agent.pins(), self.objects.namespace())
    }

    /// Looks at the maps all the time from now on.
    pub fn vigil(&self) -> Result<Vigil> {
        Vigil::start(&self.agent.pins(), self.objects.namespace())
    }

    /// Starts connections to both VIPs of each of these Services and waits until they are under way. Each Service has a
    /// client of its own: one port of one client can't speak to one backend through two VIPs.
    pub fn load(&mut self, services: &[&Service]) -> Result<Loads> {
        // The machine has other tests to run.
        let options = Options {
            pause: Duration::from_millis(5),
            ..Options::default()
        };
        let mut loads = Loads(Vec::new());
        for service in services {
            let client = self.client(&format!("c-{}", self.pods.len()))?;
            for to in service.at() {
                let load = Load::start_with(&client.netns, to, Kind::Http, 1, options)?;
                loads.0.push((to, load));
            }
            self.pods.push(client);
        }
        loads.wait_for_more(10)?;
        Ok(loads)
    }

    fn new(control_plane: &ControlPlane) -> Result<Self> {
        let runtime = Runtime::new()?;
        let lab = Lab::builder().nodes(1).build()?;
        let node = lab.node(1);
        let namespace = runtime.block_on(control_plane.create_namespace("weather"))?;
        // The control plane may be shared: every lab has a node1.
        let name = format!("{namespace}-node");
        runtime.block_on(control_plane.add_node(
            &name,
            &[],
            &node.addresses(),
            &node.pod_cidrs(),
        ))?;
        let upstream = runtime.block_on(Upstream::of(control_plane, &Identity::Admin))?;
        // Another machine, so that it can fall silent.
        let outside = lab.outside();
        let weather = Weather::start(&outside.netns, outside.ipv4.into(), upstream)?;
        let client = node.add_pod("client")?;
        client.set_tx_checksum_offload(false)?;

        let directory = Sandbox::current()?.directory().join(&namespace);
        fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
        let kubeconfig = directory.join("kubeconfig");
        fs::write(&kubeconfig, serde_json::to_vec(&weather.kubeconfig())?)?;
        let mut agent = Agent::new(&node.netns, &name, &kubeconfig, &directory)?;
        agent.start()?;
        agent.wait_until_attached(&client)?;
        Ok(Self {
            agent,
            weather,
            objects: Objects::new(runtime, control_plane, namespace, name)?,
            client,
            pods: Vec::new(),
            lab,
        })
    }

    fn assert_no_checksum_errors(&self) -> Result<()> {
        let pods = self.pods.iter().chain([&self.client]);
        let node = &self.lab.node(1).netns;
        for netns in pods.map(|pod| &pod.netns).chain([node]) {
            let errors = checksum_errors(netns)?;
            ensure!(errors == 0, "{netns:?} counted {errors} wrong checksums");
        }
        Ok(())
    }
}

impl Loads {
    /// Waits until so many more connections to each VIP have ended.
    pub fn wait_for_more(&self, connections: u64) -> Result<()> {
        for (_, load) in &self.0 {
            load.wait_for_more(connections, PATIENCE)?;
        }
        Ok(())
    }

    /// Ends it and holds that no connection failed.
    #[track_caller]
    pub fn stop_without_errors(self) {
        for (to, load) in self.0 {
            let report = load.stop().expect("the load could run");
            assert!(report.errors == 0 && report.total > 0, "{to}: {report}");
        }
    }
}
