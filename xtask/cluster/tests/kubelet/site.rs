//! What each test has: a namespace, and a node with a kubelet that takes this namespace's pods.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster::ControlPlane;
use cluster::kubelet::{Builder, Kubelet};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::api::Api;
use lab::{Cgroup, Lab};

const PATIENCE: Duration = Duration::from_secs(20);

/// A namespace and its node.
pub struct Site {
    pub control_plane: &'static ControlPlane,
    pub namespace: String,
    /// Name of the Node.
    pub node: String,
    pub kubelet: Kubelet,
    pub lab: Arc<Lab>,
    pub client: Client,
}

impl Site {
    pub async fn new(name: &str) -> Result<Site> {
        let control_plane = ControlPlane::shared()?;
        let namespace = control_plane.create_namespace(name).await?;
        let lab = Arc::new(Lab::builder().build()?);
        let node = format!("{namespace}-node");
        let kubelet = kubelet(control_plane, &lab, &node)?;
        Ok(Site {
            client: control_plane.client().await?,
            control_plane,
            namespace,
            node,
            kubelet,
            lab,
        })
    }

    /// One whose node's processes are in a control group, which is called `name`.
    pub async fn with_cgroup(name: &str) -> Result<(Site, Cgroup)> {
        let cgroup = Cgroup::create(name)?;
        let mut site = Site::new(name).await?;
        site.kubelet.stop();
        site.kubelet = builder(site.control_plane, &site.lab, &site.node)
            .host_path("/sys/fs/cgroup", cgroup.path())
            .start()?;
        Ok((site, cgroup))
    }

    /// Ends the node's kubelet, does something, and starts another one.
    pub async fn restart_kubelet(
        &mut self,
        meanwhile: impl AsyncFnOnce(Api<Pod>) -> Result<()>,
    ) -> Result<()> {
        self.kubelet.stop();
        meanwhile(self.pods()).await?;
        self.kubelet = kubelet(self.control_plane, &self.lab, &self.node)?;
        Ok(())
    }

    /// Applies manifests in which `NODE` stands for the node's name.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let manifests = manifests.replace("NODE", &self.node);
        self.control_plane.apply(&manifests, &self.namespace)
    }

    /// Makes a pod on the node, of one container with these fields.
    pub fn run(&self, pod: &str, container: &str) -> Result<()> {
        self.run_with(pod, container, "terminationGracePeriodSeconds: 30")
    }

    /// As [`Site::run`], with more fields of the pod's spec.
    pub fn run_with(&self, pod: &str, container: &str, spec: &str) -> Result<()> {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}, labels: {{app: {pod}}}}}, spec: {{nodeName: NODE, {spec}, \
             containers: [{{name: main, {container}}}]}}}}"
        ))
    }

    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    /// [`Site::pods`], for a test that has taken the site apart.
    pub fn pods_of(client: &Client, namespace: &str) -> Api<Pod> {
        Api::namespaced(client.clone(), namespace)
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until the status of a pod is as wished, and returns it.
    pub async fn wait_for_status(
        &self,
        pod: &str,
        what: &str,
        is_so: impl Fn(&PodStatus) -> bool,
    ) -> Result<PodStatus> {
        let mut last = None;
        let found = wait_for(what, async || {
            let status = self.pods().get(pod).await?.status.unwrap_or_default();
            last = Some(status.clone());
            Ok(is_so(&status).then_some(status))
        });
        found.await.with_context(|| format!("{pod}: {last:?}"))
    }

    pub async fn wait_until_ready(&self, pod: &str) -> Result<PodStatus> {
        self.wait_for_status(pod, "it to be ready", |status| {
            condition(status, "Ready") == "True"
        })
        .await
    }

    /// Waits until a pod has ended, and returns its phase.
    pub async fn wait_until_over(&self, pod: &str) -> Result<String> {
        let over = |status: &PodStatus| matches!(phase(status), "Succeeded" | "Failed");
        let status = self.wait_for_status(pod, "its end", over).await?;
        Ok(phase(&status).to_owned())
    }

    /// What the pod's containers have printed.
    pub fn logs(&self, pod: &str) -> Result<String> {
        self.kubelet.logs(&self.namespace, pod)
    }
}

fn kubelet(control_plane: &ControlPlane, lab: &Arc<Lab>, node: &str) -> Result<Kubelet> {
    builder(control_plane, lab, node).start()
}

fn builder(control_plane: &ControlPlane, lab: &Arc<Lab>, node: &str) -> Builder {
    Kubelet::builder(control_plane, lab, 1)
        .name(node)
        .label("topology.kubernetes.io/zone", "a")
        .checksum_offload(false)
}

pub fn phase(status: &PodStatus) -> &str {
    status.phase.as_deref().unwrap_or_default()
}

/// `True`, `False`, or nothing.
pub fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a str {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let found = conditions.iter().find(|known| known.type_ == kind);
    found.map_or("", |known| &known.status)
}

/// Asks until there is an answer.
pub async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let last = match ask().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() > end {
            bail!("waited {PATIENCE:?} for {what}, in vain; {last:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
