//! What all pods of one kubelet share: the node, the API, directories, and who is where.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use lab::{Lab, Node, Sandbox};
use tokio::sync::mpsc::UnboundedSender;

use super::Options;
use super::addresses::Addresses;
use super::objects::Objects;
use super::sandbox::Place;
use super::volumes::HostPaths;
use super::worker::Message;

/// A pod's namespace and name.
pub(super) type Name = (String, String);

/// What all pods of one kubelet share.
pub(super) struct Shared {
    pub client: Client,
    pub objects: Objects,
    /// The Node's name.
    pub name: String,
    pub addresses: Addresses,
    pub host_paths: HostPaths,
    pub options: Options,
    lab: Arc<Lab>,
    number: usize,
    directory: PathBuf,
    pods: Mutex<BTreeMap<Name, Known>>,
}

struct Known {
    inbox: UnboundedSender<Message>,
    place: Option<Place>,
}

pub(super) fn name_of(pod: &Pod) -> Name {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

impl Shared {
    /// # Errors
    /// When its directories cannot be made.
    pub fn new(
        client: Client,
        lab: Arc<Lab>,
        number: usize,
        name: String,
        mut mapped: Vec<(PathBuf, PathBuf)>,
        options: Options,
    ) -> Result<Shared> {
        let sandbox = Sandbox::current()?;
        let node = lab.node(number);
        let directory = sandbox.directory().join("kubelet").join(node.netns.name());
        let root = directory.join("root");
        fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        let bpffs = sandbox.bpffs().join(node.netns.name());
        fs::create_dir_all(&bpffs).with_context(|| bpffs.display().to_string())?;
        // Of several that stand for the same path the last counts.
        mapped.insert(0, ("/sys/fs/bpf".into(), bpffs));
        Ok(Shared {
            objects: Objects::new(client.clone()),
            addresses: Addresses::new(node)?,
            host_paths: HostPaths { mapped, root },
            client,
            name,
            options,
            lab,
            number,
            directory,
            pods: Mutex::default(),
        })
    }

    pub fn node(&self) -> &Node {
        self.lab.node(self.number)
    }

    /// Where a pod's own files are, as long as it is there.
    pub fn pod_directory(&self, pod: &Pod) -> PathBuf {
        self.directory
            .join("pods")
            .join(pod.uid().unwrap_or_default())
    }

    /// The file that a container prints to, in a directory that exists.
    pub fn log(&self, pod: &Pod, container: &str) -> PathBuf {
        let (namespace, name) = name_of(pod);
        let file = self.log_file(&namespace, &name, container);
        if let Some(directory) = file.parent() {
            // A log that can't be written makes the start of the container fail.
            let _ = fs::create_dir_all(directory);
        }
        file
    }

    pub fn log_file(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        let file = format!("{container}.log");
        self.log_directory(namespace, pod).join(file)
    }

    pub fn logs(&self, namespace: &str, pod: &str) -> Result<String> {
        let directory = self.log_directory(namespace, pod);
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("no container of {namespace}/{pod} was started here"))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        let read = |file: &PathBuf| fs::read(file).with_context(|| file.display().to_string());
        let bytes: Result<Vec<Vec<u8>>> = files.iter().map(read).collect();
        Ok(String::from_utf8_lossy(&bytes?.concat()).into_owned())
    }

    /// The name server of a pod and what it searches.
    pub fn resolver(&self, pod: &Pod) -> Option<(IpAddr, Vec<String>)> {
        let server = self.options.dns?;
        let spec = pod.spec.as_ref()?;
        let cluster_first = match spec.dns_policy.as_deref() {
            None | Some("ClusterFirst") => spec.host_network != Some(true),
            Some("ClusterFirstWithHostNet") => true,
            _ => false,
        };
        let namespace = pod.namespace().unwrap_or_default();
        let search = [format!("{namespace}.svc."), "svc.".into(), String::new()];
        let domains = search.map(|part| format!("{part}cluster.local"));
        cluster_first.then(|| (server, domains.into()))
    }

    /// From now on a pod can be told something.
    pub fn introduce(&self, name: &Name, inbox: UnboundedSender<Message>) {
        let place = None;
        self.lock().insert(name.clone(), Known { inbox, place });
    }

    /// The pod is no more.
    pub fn part_with(&self, name: &Name) {
        self.lock().remove(name);
    }

    pub fn remember_place(&self, pod: &Pod, place: Place) {
        if let Some(known) = self.lock().get_mut(&name_of(pod)) {
            known.place = Some(place);
        }
    }

    pub fn forget_place(&self, pod: &Pod) {
        if let Some(known) = self.lock().get_mut(&name_of(pod)) {
            known.place = None;
        }
    }

    pub fn place(&self, name: &Name) -> Result<Place> {
        let pods = self.lock();
        let place = pods.get(name).and_then(|known| known.place.clone());
        place.with_context(|| format!("{} has no namespace on {}", written(name), self.name))
    }

    pub fn tell(&self, name: &Name, message: Message) -> Result<()> {
        let pods = self.lock();
        let told = pods
            .get(name)
            .is_some_and(|known| known.inbox.send(message).is_ok());
        told.then_some(())
            .with_context(|| format!("there is no pod {} on {}", written(name), self.name))
    }

    fn log_directory(&self, namespace: &str, pod: &str) -> PathBuf {
        self.directory.join("logs").join(namespace).join(pod)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Known>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn written((namespace, name): &Name) -> String {
    format!("{namespace}/{name}")
}
