//! The cluster's own kubelet: makes a node's Pod objects into network namespaces with processes, and tells the API how
//! they are. There are no images, no cgroups and no events; what its pods can be is described at [`Kubelet`].

mod addresses;
mod agnhost;
mod container;
mod ending;
mod environment;
mod image;
mod node;
mod not_yet;
mod objects;
mod probe;
mod program;
mod publish;
mod sandbox;
mod security;
mod shared;
mod status;
mod volumes;
mod watch;
mod worker;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use lab::Lab;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{ControlPlane, kubeconfig};
pub use sandbox::Place;
use shared::{Name, Shared, name_of};
use worker::Message;

/// A node's kubelet, on a thread of its own. Dropping it is the end of the node's pods, which it no longer tells the API.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// # let control_plane = cluster::ControlPlane::shared()?;
/// use std::sync::Arc;
/// use cluster::kubelet::Kubelet;
///
/// let lab = Arc::new(lab::Lab::builder().nodes(2).build()?);
/// let kubelet = Kubelet::builder(control_plane, &lab, 1)
///     .name("my-test-1") // where tests share a control plane; otherwise the lab's `node1`
///     .label("topology.kubernetes.io/zone", "a")
///     .image("lb", "/target/debug/lb")
///     .start()?;
/// // … create pods with `nodeName: my-test-1` or a node selector, then:
/// kubelet.set_ready("default", "web-1", false)?;
/// let place = kubelet.place("default", "web-1")?;
/// let curl = place.netns.command("curl").args(["-sf", "http://10.96.0.10"]).output()?;
/// println!("{}", kubelet.logs("default", "web-1")?);
/// # Ok(())
/// # }
/// ```
///
/// # What runs
///
/// | image | |
/// |---|---|
/// | one named to [`Builder::image`] | that program, with `args`; `command` may name it as well |
/// | `…agnhost…` | `netexec`, `serve-hostname`, `pause`, as far as tests of Services need them; `lab --http=N --udp=N --stream=N` are the lab's own servers |
/// | `pause` | nothing |
/// | `nginx` | this machine's nginx, unless there is a `command` |
/// | any other | `command` and `args`, a program of this machine |
///
/// A program sees this machine's files, with its volumes (configMap, secret, projected, downwardAPI, emptyDir, hostPath)
/// above them. A `mountPath` must exist on this machine or be below `/run`. What a `hostPath` shows is a directory of the
/// node's own, unless [`Builder::host_path`] names another: `/sys/fs/bpf` is a BPF file system of the node. Mounted
/// read-only it is this machine's path, if there is one. This machine's BPF file systems and control groups are hidden. With
/// `host_path("/sys/fs/cgroup", …)` a [`lab::Cgroup`] of the test's stands for the node's root group: programs of the node's
/// pods are in it, and a `hostPath` shows it.
///
/// Capabilities are what a container runtime leaves: the usual 14, less `drop`, and `add`. `runAsUser`, `runAsGroup`,
/// `privileged`, `allowPrivilegeEscalation` and `readOnlyRootFilesystem` are obeyed; `seccompProfile` and `seLinuxOptions`
/// are not. Without privilege `/proc/sys` and `/sys` are read-only. Mounts do not propagate.
pub struct Kubelet {
    shared: Arc<Shared>,
    off: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Choices for a [`Kubelet`].
#[derive(Debug)]
pub struct Builder {
    lab: Arc<Lab>,
    number: usize,
    kubeconfig: Result<Value>,
    name: String,
    host_paths: Vec<(PathBuf, PathBuf)>,
    options: Options,
}

#[derive(Debug, Clone)]
struct Options {
    labels: BTreeMap<String, String>,
    images: image::Images,
    dns: Option<IpAddr>,
    checksum_offload: bool,
}

impl Kubelet {
    /// The kubelet of the lab's node `number`, counted from 1.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn builder(control_plane: &ControlPlane, lab: &Arc<Lab>, number: usize) -> Builder {
        Builder {
            lab: lab.clone(),
            number,
            kubeconfig: control_plane.kubeconfig_here(),
            name: lab.node(number).name.clone(),
            host_paths: Vec::new(),
            options: Options {
                labels: BTreeMap::new(),
                images: Vec::new(),
                dns: None,
                checksum_offload: true,
            },
        }
    }

    /// Ends it and its node's pods, as dropping it does: the API is told nothing. Their logs can still be read.
    pub fn stop(&mut self) {
        drop(self.off.take());
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread.
            let _ = thread.join();
        }
    }

    /// The name of its Node.
    pub fn node_name(&self) -> &str {
        &self.shared.name
    }

    /// Where a pod is.
    ///
    /// # Errors
    /// When it has no namespace, or not yet.
    pub fn place(&self, namespace: &str, pod: &str) -> Result<Place> {
        self.shared.place(&(namespace.into(), pod.into()))
    }

    /// Declares the containers of a pod ready or not, from now on, whatever its readiness probes say. It shows in the
    /// status when they run.
    ///
    /// # Errors
    /// When the node has no such pod, or not yet.
    pub fn set_ready(&self, namespace: &str, pod: &str, ready: bool) -> Result<()> {
        let name = (namespace.into(), pod.into());
        self.shared.tell(&name, Message::SetReady(ready))
    }

    /// What the containers of a pod have printed, one after the other; also when the pod is gone. A later pod of the same
    /// name goes on in the same logs.
    ///
    /// # Errors
    /// When no container was started.
    pub fn logs(&self, namespace: &str, pod: &str) -> Result<String> {
        self.shared.logs(namespace, pod)
    }

    /// The file that a container of a pod prints to.
    pub fn log_file(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        self.shared.log_file(namespace, pod, container)
    }
}

impl Builder {
    /// The Node's name; by default the lab's.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// A label of the Node.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.options.labels.insert(key.into(), value.into());
        self
    }

    /// The program that stands for all images whose names, without registry, begin with `prefix`.
    pub fn image(mut self, prefix: &str, program: impl Into<PathBuf>) -> Self {
        self.options.images.push((prefix.into(), program.into()));
        self
    }

    /// What stands for the node's directory `path` and all below it in `hostPath` volumes.
    pub fn host_path(mut self, path: impl Into<PathBuf>, stand_in: impl Into<PathBuf>) -> Self {
        self.host_paths.push((path.into(), stand_in.into()));
        self
    }

    /// The name server of its pods, with the usual search domains; otherwise they have this machine's.
    pub fn dns(mut self, server: IpAddr) -> Self {
        self.options.dns = Some(server);
        self
    }

    /// Whether the devices of its pods leave checksums to each other, as they do until told otherwise. Where they don't,
    /// wrong ones are counted.
    pub fn checksum_offload(mut self, on: bool) -> Self {
        self.options.checksum_offload = on;
        self
    }

    /// Starts it. The Node is registered when this returns.
    ///
    /// # Errors
    /// Without a sandbox, or when the API does not let the node be registered.
    pub fn start(self) -> Result<Kubelet> {
        let (off, is_off) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let name = self.name.clone();
        let thread = thread::Builder::new()
            .name(format!("kubelet {name}"))
            .spawn(move || self.live(&ready, is_off))?;
        let shared = started
            .recv()
            .context("its thread is gone")
            .flatten()
            .with_context(|| format!("the kubelet of {name} cannot be started"))?;
        Ok(Kubelet {
            shared,
            off: Some(off),
            thread: Some(thread),
        })
    }

    /// The whole life of the kubelet's thread.
    fn live(self, ready: &mpsc::Sender<Result<Arc<Shared>>>, off: oneshot::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(format!("pods of {}", self.name))
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        runtime.block_on(async {
            let shared = match self.prepare().await {
                Ok(shared) => Arc::new(shared),
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(shared.clone()));
            watch::run(shared, async {
                // Sent or dropped, it means the same.
                let _ = off.await;
            })
            .await;
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
    }

    async fn prepare(self) -> Result<Shared> {
        let config = kubeconfig::client_config(self.kubeconfig?).await?;
        let client = Client::try_from(config)?;
        let labels = &self.options.labels;
        let node = self.lab.node(self.number);
        node::register(client.clone(), node, &self.name, labels).await?;
        let (lab, paths) = (self.lab, self.host_paths);
        Shared::new(client, lab, self.number, self.name, paths, self.options)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kubelet({})", self.shared.name)
    }
}
