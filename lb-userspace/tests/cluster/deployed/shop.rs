//! An application that is there for all tests: three pods that end as a newcomer is told to let them end, a Service in front
//! of them, and clients on both nodes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster::kubelet::Place;
use lab::checksum_errors;
use lab::client::{Kind, Load, Options, http_get};

use super::PATIENCE;
use super::cluster::{Cluster, eventually};

/// Its Kubernetes namespace.
pub const NAMESPACE: &str = "default";
const PORT: u16 = 80;
/// How many pods serve.
const PODS: usize = 3;

/// Pods serve on while they end: `preStop` delays SIGTERM until every node has heard of it.
const MANIFESTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: shop}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
        - name: shop
          image: registry.k8s.io/e2e-test-images/agnhost:2.59
          args: [netexec, --http-port=8080]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /readyz, port: http}}
          lifecycle: {preStop: {sleep: {seconds: 3}}}
";

/// The application and its clients.
pub struct Shop {
    /// The VIPs.
    pub at: [SocketAddr; 2],
    /// One on each node.
    pub clients: [Place; 2],
}

/// Requests of all clients to all VIPs, of which none may fail.
pub struct Loads(Vec<(String, Load)>);

impl Shop {
    /// Waits until all clients reach it.
    pub fn open(cluster: &Cluster) -> Result<Self> {
        cluster.apply(NAMESPACE, MANIFESTS)?;
        let clients = [
            cluster.client(NAMESPACE, "client-1", 0)?,
            cluster.client(NAMESPACE, "client-2", 1)?,
        ];
        cluster.wait_for_rollout(NAMESPACE, "deployment/shop")?;
        let at = cluster.vips(NAMESPACE, "shop", PORT)?;
        for (client, to) in each(&clients, at) {
            eventually("an answer of the shop", PATIENCE, || {
                Ok(Some(http_get(&client.netns, to)?))
            })?;
        }
        Ok(Self { at, clients })
    }

    /// Starts requests of these kinds and waits until they are under way.
    pub fn load(&self, kinds: &[Kind]) -> Result<Loads> {
        // The machine has other tests to run.
        let options = Options {
            pause: Duration::from_millis(10),
            ..Options::default()
        };
        let mut loads = Loads(Vec::new());
        for (client, to) in each(&self.clients, self.at) {
            for kind in kinds {
                let load = Load::start_with(&client.netns, to, *kind, 1, options)?;
                let device = client.host_device.as_deref().unwrap_or_default();
                loads.0.push((format!("{kind:?} {device} {to}"), load));
            }
        }
        loads.wait_for_more(10)?;
        Ok(loads)
    }

    /// Holds that every client still is led to all pods.
    pub fn assert_is_served(&self) -> Result<()> {
        for (client, to) in each(&self.clients, self.at) {
            let what = format!("all pods of the shop behind {to}");
            let mut seen = std::collections::BTreeSet::new();
            eventually(&what, PATIENCE, || {
                seen.insert(http_get(&client.netns, to)?.pod);
                Ok((seen.len() == PODS).then_some(()))
            })?;
            let errors = checksum_errors(&client.netns)?;
            ensure!(errors == 0, "{errors} wrong checksums");
        }
        Ok(())
    }

    /// The names of the pods that serve.
    pub fn pods(cluster: &Cluster) -> Result<Vec<String>> {
        let places = cluster.places(NAMESPACE, "app=shop")?;
        let names: Vec<String> = places.into_iter().map(|(name, _)| name).collect();
        ensure!(names.len() == PODS, "{names:?}");
        Ok(names)
    }
}

impl Loads {
    /// Waits until so many more requests of each have ended.
    pub fn wait_for_more(&self, requests: u64) -> Result<()> {
        for (what, load) in &self.0 {
            let waited = load.wait_for_more(requests, PATIENCE);
            waited.with_context(|| what.clone())?;
        }
        Ok(())
    }

    /// Ends them and holds that no request failed. Returns how many there were.
    #[track_caller]
    pub fn stop_without_errors(self) -> u64 {
        let mut total = 0;
        for (what, load) in self.0 {
            let report = load.stop().expect("the load could run");
            assert!(report.errors == 0 && report.total > 0, "{what}: {report}");
            total += report.total;
        }
        total
    }
}

fn each(clients: &[Place; 2], at: [SocketAddr; 2]) -> impl Iterator<Item = (&Place, SocketAddr)> {
    clients
        .iter()
        .flat_map(move |client| at.map(|to| (client, to)))
}
