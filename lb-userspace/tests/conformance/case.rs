//! What one test has: a Kubernetes namespace of its own on the shared cluster, and ways to make Services, pods and slices
//! in it. How they are talked to is `traffic`'s business.

mod pods;
mod services;
mod slices;

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use lab::{Netns, checksum_errors};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use pods::{Pod, all_ready};
pub use services::Service;
pub use slices::sockets;

use crate::cluster::Cluster;

/// How long the control plane and the kubelets may take for anything, restarts included.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A test's part of the cluster.
pub struct Case<'a> {
    /// The whole of it.
    pub cluster: &'a Cluster,
    /// The Kubernetes namespace.
    pub namespace: String,
    next_node: AtomicUsize,
    /// Those of all pods that ever were.
    networks: Mutex<Vec<Netns>>,
}

/// What a namespace holds.
pub trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

impl<'a> Case<'a> {
    /// Makes the namespace.
    pub fn begin(cluster: &'a Cluster) -> Result<Case<'a>> {
        let namespace = cluster.wait(cluster.control_plane.create_namespace("conformance"))?;
        Ok(Case {
            cluster,
            namespace,
            next_node: AtomicUsize::new(0),
            networks: Mutex::default(),
        })
    }

    /// Holds that no pod has been sent packets with wrong checksums. One is let pass: one refusal in 65 536 has a wrong
    /// one (`docs/limits.md`), and refusals there are many. What is wrong by rule is wrong more than once.
    pub fn assert_no_checksum_errors(&self) -> Result<()> {
        for netns in self.networks().iter() {
            let errors = checksum_errors(netns)?;
            ensure!(errors <= 1, "{netns:?} counted {errors} wrong checksums");
        }
        Ok(())
    }

    /// Removes the namespace, without waiting for it.
    pub fn end(self) {
        let api: Api<Namespace> = Api::all(self.cluster.client());
        let parameters = DeleteParams::default();
        // What stays costs the other tests nothing but memory.
        let _ = self.cluster.wait(api.delete(&self.namespace, &parameters));
    }

    /// Creates an object from what differs from an empty one.
    pub fn create<K: Object>(&self, object: Value) -> Result<K> {
        let object: K = serde_json::from_value(object)?;
        let (api, parameters) = (self.api::<K>(), PostParams::default());
        let created = self.cluster.wait(api.create(&parameters, &object));
        created.with_context(|| format!("cannot create {} {}", K::kind(&()), object.name_any()))
    }

    /// Changes an object by a merge patch.
    pub fn change<K: Object>(&self, name: &str, patch: Value) -> Result<K> {
        let (api, parameters) = (self.api::<K>(), PatchParams::default());
        let patch = Patch::Merge(patch);
        let changed = self.cluster.wait(api.patch(name, &parameters, &patch));
        changed.with_context(|| format!("cannot change {} {name}", K::kind(&())))
    }

    /// Changes an object's status by a patch.
    pub fn change_status<K: Object>(&self, name: &str, patch: &Patch<Value>) -> Result<K> {
        let (api, parameters) = (self.api::<K>(), PatchParams::default());
        let changed = self
            .cluster
            .wait(api.patch_status(name, &parameters, patch));
        changed.with_context(|| format!("cannot change {} {name}", K::kind(&())))
    }

    /// Reads an object; `None` when there is none.
    pub fn get<K: Object>(&self, name: &str) -> Result<Option<K>> {
        let api = self.api::<K>();
        let found = self.cluster.wait(api.get_opt(name));
        found.with_context(|| format!("cannot read {} {name}", K::kind(&())))
    }

    /// Reads all objects with a label.
    pub fn list<K: Object>(&self, label: &str) -> Result<Vec<K>> {
        let (api, parameters) = (self.api::<K>(), ListParams::default().labels(label));
        let found = self.cluster.wait(api.list(&parameters));
        Ok(found
            .with_context(|| format!("cannot list {}", K::kind(&())))?
            .items)
    }

    /// Asks for an object's end and does not wait for it.
    pub fn delete<K: Object>(&self, name: &str, parameters: &DeleteParams) -> Result<()> {
        let api = self.api::<K>();
        let deleted = self.cluster.wait(api.delete(name, parameters));
        deleted.with_context(|| format!("cannot delete {} {name}", K::kind(&())))?;
        Ok(())
    }

    /// Asks until there is an answer.
    pub fn until<T>(&self, what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        eventually(what, PATIENCE, look)
    }

    /// The objects of one kind.
    fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client(), &self.namespace)
    }

    fn networks(&self) -> MutexGuard<'_, Vec<Netns>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another node at each call.
    fn some_node(&self) -> usize {
        self.next_node.fetch_add(1, Ordering::Relaxed) % self.cluster.nodes() + 1
    }
}

/// Looks again and again until there is something, or the time is up: then with the last failure, if there was one.
pub fn eventually<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(10);
    loop {
        let late = Instant::now() >= end;
        match look() {
            Ok(Some(found)) => return Ok(found),
            Err(error) if late => {
                return Err(error.context(format!("waited {patience:?} for {what}")));
            }
            Ok(None) if late => anyhow::bail!("waited {patience:?} for {what}, in vain"),
            Ok(None) | Err(_) => {}
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
