//! What tests ask of the API server often: clients, nodes, namespaces, tokens, and whether it is ready.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, ServiceAccount};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::daemon::Daemon;
use super::{ControlPlane, PATIENCE};
use crate::kubeconfig::{self, Identity};

impl ControlPlane {
    /// A client that may do everything, for threads in the network namespace in which [`ControlPlane::start`] was called:
    /// the process's own. It belongs to the calling runtime, so each test asks for its own.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub async fn client(&self) -> Result<Client> {
        self.client_for(&Identity::Admin).await
    }

    /// A client that the API server sees as `identity`, otherwise as [`ControlPlane::client`].
    ///
    /// # Errors
    /// When no certificate can be made.
    pub async fn client_for(&self, identity: &Identity) -> Result<Client> {
        let kubeconfig = self.kubeconfig_value(identity, self.relay.address())?;
        Ok(Client::try_from(
            kubeconfig::client_config(kubeconfig).await?,
        )?)
    }

    /// The kubeconfig of [`ControlPlane::client`].
    pub(crate) fn kubeconfig_here(&self) -> Result<serde_json::Value> {
        self.kubeconfig_value(&Identity::Admin, self.relay.address())
    }

    /// A token for a service account, as the kubelet gets it for a pod; good for an hour.
    ///
    /// # Errors
    /// When there is no such service account.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest::default();
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for the service account {namespace}/{name}"))?;
        let status = answer
            .status
            .context("a token request was answered with no token")?;
        Ok(status.token)
    }

    /// Creates a Kubernetes namespace whose name begins with `prefix` and is used by nobody else, and waits until pods
    /// can be made in it. Returns its name.
    ///
    /// # Errors
    /// When the API server refuses the name.
    pub async fn create_namespace(&self, prefix: &str) -> Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{number}");
        let client = self.client().await?;
        let object = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..Default::default()
            },
            ..Default::default()
        };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &object).await?;
        let end = Instant::now() + PATIENCE;
        while !pods_are_allowed(&client, &name).await? {
            ensure!(
                Instant::now() < end,
                "the namespace {name} gets no service account"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(name)
    }

    /// Creates a Node that is ready and takes pods. `addresses` become its InternalIPs, in their order, `pod_cidrs` its
    /// pod ranges, the first family first; the labels that every node has are added.
    ///
    /// # Errors
    /// When the API server refuses it, as it does a name that is taken.
    pub async fn add_node(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        addresses: &[IpAddr],
        pod_cidrs: &[String],
    ) -> Result<Node> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        let common = [
            ("kubernetes.io/hostname", name),
            ("kubernetes.io/os", "linux"),
        ];
        let labels: serde_json::Map<_, _> = common
            .iter()
            .chain(labels)
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let node = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": labels },
            "spec": { "podCIDR": pod_cidrs.first(), "podCIDRs": pod_cidrs },
        }))?;
        let created = nodes
            .create(&PostParams::default(), &node)
            .await
            .with_context(|| format!("cannot create the node {name}"))?;
        let merge = PatchParams::default();
        nodes
            .patch_status(name, &merge, &Patch::Merge(&node_status(name, addresses)))
            .await?;
        // Every node is born with the taint not-ready, and nothing here would remove it.
        let untainted = json!({ "spec": { "taints": null } });
        let node = nodes.patch(name, &merge, &Patch::Merge(&untainted)).await?;
        ensure!(
            created.uid() == node.uid(),
            "the node {name} was replaced meanwhile"
        );
        Ok(node)
    }

    pub(super) fn wait_until_ready(&self, daemon: &mut Daemon) -> Result<()> {
        self.poll(daemon, "get ready", async |client| {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(client
                .request_text(request)
                .await
                .is_ok_and(|text| text == "ok"))
        })
    }

    /// Until a namespace has what the admission of pods needs.
    pub(super) fn wait_until_pods_are_allowed(&self, daemon: &mut Daemon) -> Result<()> {
        self.poll(daemon, "make service accounts", async |client| {
            pods_are_allowed(client, "default").await
        })
    }

    /// Asks the API server until the answer is yes; a failure counts as no. It has a thread of its own, since the caller
    /// may be within a runtime.
    fn poll(
        &self,
        daemon: &mut Daemon,
        what: &str,
        ask: impl AsyncFn(&Client) -> Result<bool> + Send,
    ) -> Result<()> {
        let wait = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let client = runtime.block_on(self.client())?;
            daemon.wait_until(what, PATIENCE, || {
                runtime.block_on(ask(&client)).unwrap_or(false)
            })
        };
        std::thread::scope(|scope| scope.spawn(wait).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

async fn pods_are_allowed(client: &Client, namespace: &str) -> Result<bool> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    Ok(accounts.get_opt("default").await?.is_some()
        && maps.get_opt("kube-root-ca.crt").await?.is_some())
}

/// What a kubelet says of a healthy and very large node.
fn node_status(name: &str, addresses: &[IpAddr]) -> serde_json::Value {
    let internal = addresses
        .iter()
        .map(|address| json!({ "type": "InternalIP", "address": address }));
    let addresses: Vec<_> = internal
        .chain([json!({ "type": "Hostname", "address": name })])
        .collect();
    let room =
        json!({ "cpu": "1000", "memory": "1000Gi", "ephemeral-storage": "1000Gi", "pods": "1000" });
    json!({ "status": {
        "addresses": addresses,
        "capacity": room,
        "allocatable": room,
        "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }],
    }})
}
