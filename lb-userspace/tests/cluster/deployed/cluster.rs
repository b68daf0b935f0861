//! A cluster of two nodes on which the manifests are applied as `docs/install.md` tells.

mod agent;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use cluster::kubelet::{Kubelet, Place};
use cluster::{ControlPlane, Options, Relay};
use lab::{Cgroup, Lab, Netns, Sandbox, checksum_errors};
use serde_json::Value;
use tokio::runtime::Runtime;

pub use agent::field;

use super::shop::Shop;

/// Whom the API server sees in an agent.
pub const ACCOUNT: &str = "system:serviceaccount:kube-system:lb";
/// The API server's port, wherever it is reached without a Service.
const API_PORT: u16 = 6443;

/// Two nodes, a control plane, and the agent applied.
pub struct Cluster {
    pub control_plane: ControlPlane,
    pub nodes: [Node; 2],
    /// What every test may use and leaves as it was.
    pub shop: Option<Shop>,
    lab: Arc<Lab>,
    /// In front of the control plane: the address that agents are told.
    load_balancer: Relay,
    kustomization: PathBuf,
    runtime: Runtime,
    is_deployed: bool,
    /// Why no test can be held against it any more.
    broken: Option<String>,
}

/// A node with a kubelet.
pub struct Node {
    pub name: String,
    pub netns: Netns,
    pub kubelet: Kubelet,
    /// What stands for the root of the node's control groups.
    pub cgroup: Cgroup,
    /// What the node has at `/sys/fs/bpf`.
    pub bpffs: PathBuf,
}

/// Holds `body` against the cluster, on which the agent is deployed and ready, with a Kubernetes namespace of its own.
pub fn test(name: &str, body: impl FnOnce(&mut Cluster, &str) -> Result<()>) -> Result<()> {
    static CLUSTER: OnceLock<Result<Mutex<Cluster>, String>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| match Cluster::new() {
        Ok(cluster) => Ok(Mutex::new(cluster)),
        Err(error) => Err(format!("{error:#}")),
    });
    let cluster = cluster.as_ref().map_err(|error| anyhow!("{error}"))?;
    let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        cluster.deploy()?;
        let control_plane = &cluster.control_plane;
        let namespace = cluster
            .runtime
            .block_on(control_plane.create_namespace(name))?;
        body(&mut cluster, &namespace)?;
        cluster.kubectl(&format!("delete namespace {namespace} --wait=false"))?;
        cluster.assert_no_checksum_errors()
    }));
    if !matches!(outcome, Ok(Ok(()))) {
        cluster.must_be_deployed_anew();
        eprintln!("{}", cluster.told());
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

impl Cluster {
    /// `kubectl WORDS`, as an administrator.
    pub fn kubectl(&self, words: &str) -> Result<String> {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.control_plane.kubectl(&words)
    }

    /// What `kubectl get WORDS` has as JSON.
    pub fn get(&self, words: &str) -> Result<Value> {
        let text = self.kubectl(&format!("get {words} -o json"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Applies manifests to a namespace.
    pub fn apply(&self, namespace: &str, manifests: &str) -> Result<()> {
        self.control_plane.apply(manifests, namespace)
    }

    /// Waits until something is rolled out.
    pub fn wait_for_rollout(&self, namespace: &str, what: &str) -> Result<()> {
        let seconds = super::PATIENCE.as_secs();
        self.kubectl(&format!(
            "-n {namespace} rollout status {what} --timeout={seconds}s"
        ))?;
        Ok(())
    }

    /// Waits for a condition of an object, as `kubectl wait` does.
    pub fn wait_for(&self, namespace: &str, what: &str, condition: &str) -> Result<()> {
        let seconds = super::PATIENCE.as_secs();
        self.kubectl(&format!(
            "-n {namespace} wait {what} --for={condition} --timeout={seconds}s"
        ))?;
        Ok(())
    }

    /// Makes a pod that does nothing on a node, and returns where it is when it is ready.
    pub fn client(&self, namespace: &str, name: &str, node: usize) -> Result<Place> {
        let node = &self.nodes[node];
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: {}, \
             containers: [{{name: client, image: agnhost, args: [pause]}}]}}}}",
            node.name
        );
        self.apply(namespace, &pod)?;
        self.wait_for(namespace, &format!("pod/{name}"), "condition=Ready")?;
        node.kubelet.place(namespace, name)
    }

    /// Where the pods of a selector are, by name, wherever they run.
    pub fn places(&self, namespace: &str, selector: &str) -> Result<Vec<(String, Place)>> {
        let pods = self.get(&format!("-n {namespace} pods -l {selector}"))?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        pods.iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(|pod| {
                let name = pod["metadata"]["name"].as_str().context("a name")?;
                let node = self.node_of(pod).context("a pod on no node")?;
                Ok((name.to_owned(), node.kubelet.place(namespace, name)?))
            })
            .collect()
    }

    /// A Service's VIPs with a port, IPv4 first.
    pub fn vips(&self, namespace: &str, service: &str, port: u16) -> Result<[SocketAddr; 2]> {
        let service = self.get(&format!("-n {namespace} service {service}"))?;
        let vips = service["spec"]["clusterIPs"].as_array().context("VIPs")?;
        let mut vips = vips
            .iter()
            .map(|vip| Ok(vip.as_str().unwrap_or_default().parse::<IpAddr>()?))
            .collect::<Result<Vec<_>>>()?;
        vips.sort();
        let vips: [IpAddr; 2] = vips.try_into().ok().context("no two VIPs")?;
        Ok(vips.map(|vip| (vip, port).into()))
    }

    /// Applies the kustomization and waits until every node has a ready agent.
    pub fn deploy(&mut self) -> Result<()> {
        if let Some(error) = &self.broken {
            bail!("as before: {error}");
        }
        if !self.is_deployed {
            self.apply_kustomization()?;
            let rolled_out = self.wait_for_rollout("kube-system", "daemonset/lb");
            self.broken = rolled_out.as_ref().err().map(ToString::to_string);
            rolled_out?;
            self.is_deployed = true;
        }
        if self.shop.is_none() {
            self.shop = Some(Shop::open(self)?);
        }
        Ok(())
    }

    /// `kubectl apply -k`.
    pub fn apply_kustomization(&self) -> Result<()> {
        self.kubectl(&format!("apply -k {}", self.kustomization.display()))?;
        Ok(())
    }

    /// `kubectl delete -k`.
    pub fn delete_kustomization(&mut self) -> Result<()> {
        self.must_be_deployed_anew();
        self.kubectl(&format!("delete -k {}", self.kustomization.display()))?;
        Ok(())
    }

    /// Whoever takes the agent, or what it may do, away says so first.
    pub fn must_be_deployed_anew(&mut self) {
        self.is_deployed = false;
    }

    /// What the ConfigMap says for `LB_API_SERVER`.
    pub fn api_server(&self) -> String {
        format!("https://{}", self.load_balancer.address())
    }

    /// Registers a node again that somebody has deleted.
    pub fn register(&self, node: usize) -> Result<()> {
        let place = self.lab.node(node + 1);
        let (name, addresses) = (&self.nodes[node].name, place.addresses());
        let cidrs = place.pod_cidrs();
        let adding = self.control_plane.add_node(name, &[], &addresses, &cidrs);
        self.runtime.block_on(adding)?;
        Ok(())
    }

    fn new() -> Result<Self> {
        let lab = Arc::new(Lab::builder().nodes(2).build()?);
        // A machine that is no node stands for the load balancer in front of a cluster's API servers; the Service
        // `kubernetes` leads to it as well.
        let outside = lab.outside();
        let vip = lab::VIPS_V4.replace(".0/16", ".1").parse()?;
        let control_plane = ControlPlane::start(Options {
            advertise_address: outside.ipv4.into(),
            certificate_addresses: vec![vip],
            audited: vec![ACCOUNT.to_owned()],
            ..Options::default()
        })?;
        let at = (outside.ipv4, API_PORT).into();
        let load_balancer = control_plane.relay(&outside.netns, at)?;
        let directory = Sandbox::current()?.directory().join("kustomization");
        fs::create_dir_all(&directory)?;
        let text = kustomization(&directory, load_balancer.address())?;
        fs::write(directory.join("kustomization.yaml"), text)?;
        Ok(Self {
            nodes: [
                Node::start(&control_plane, &lab, 1)?,
                Node::start(&control_plane, &lab, 2)?,
            ],
            shop: None,
            control_plane,
            lab,
            load_balancer,
            kustomization: directory,
            runtime: Runtime::new()?,
            is_deployed: false,
            broken: None,
        })
    }

    fn node_of(&self, pod: &Value) -> Option<&Node> {
        let name = pod["spec"]["nodeName"].as_str()?;
        self.nodes.iter().find(|node| node.name == name)
    }

    fn assert_no_checksum_errors(&self) -> Result<()> {
        for netns in self.nodes.iter().map(|node| &node.netns) {
            let errors = checksum_errors(netns)?;
            ensure!(errors == 0, "{netns:?} counted {errors} wrong checksums");
        }
        Ok(())
    }

    /// What somebody would look at who finds that something is wrong.
    fn told(&self) -> String {
        let pods = self.kubectl("get pods -A -o wide").unwrap_or_default();
        let log = |agent: &(String, String)| format!("--- log of {}\n{}", agent.0, agent.1);
        let logs: Vec<String> = self.logs().iter().map(log).collect();
        format!("--- pods\n{pods}\n{}", logs.join("\n"))
    }
}

impl Node {
    fn start(control_plane: &ControlPlane, lab: &Arc<Lab>, number: usize) -> Result<Self> {
        let node = lab.node(number);
        let name = node.name.clone();
        let cgroup = Cgroup::create(&format!("deployed-{name}"))?;
        let bpffs = Sandbox::current()?.bpffs().join(format!("deployed-{name}"));
        fs::create_dir(&bpffs).with_context(|| bpffs.display().to_string())?;
        let kubelet = Kubelet::builder(control_plane, lab, number)
            .image("lb", env!("CARGO_BIN_EXE_lb"))
            .host_path("/sys/fs/cgroup", cgroup.path())
            .host_path("/sys/fs/bpf", &bpffs)
            .checksum_offload(false)
            .start()?;
        Ok(Self {
            netns: node.netns.clone(),
            name,
            kubelet,
            cgroup,
            bpffs,
        })
    }
}

/// As in `docs/install.md`.
fn kustomization(directory: &Path, api_server: SocketAddr) -> Result<String> {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    let manifests = manifests.canonicalize().context("deploy/kubernetes")?;
    // kustomize takes relative paths only.
    let mut relative = PathBuf::new();
    for part in directory.canonicalize()?.components() {
        if part != Component::RootDir {
            relative.push("..");
        }
    }
    relative.push(manifests.strip_prefix("/")?);
    Ok(format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - {}
patches:
  - patch: |
      apiVersion: v1
      kind: ConfigMap
      metadata: {{name: lb, namespace: kube-system}}
      data:
        LB_API_SERVER: https://{api_server}
",
        relative.display()
    ))
}

/// Looks again and again until there is something to see; what fails counts as nothing.
pub fn eventually<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let mut last = None;
    let found = lab::wait_for(what, patience, || match look() {
        Ok(found) => found,
        Err(error) => {
            last = Some(error);
            None
        }
    });
    found.with_context(|| last.map_or(String::new(), |error| format!("{error:#}")))
}
