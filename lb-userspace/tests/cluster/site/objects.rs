//! Services and EndpointSlices of one Kubernetes namespace, as a test makes them at the API server.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use cluster::ControlPlane;
use k8s_openapi::api::{core::v1, discovery::v1::EndpointSlice};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Client, Resource};
use lab::Pod;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// What clients connect to.
pub const PORT: u16 = 80;
/// What pods listen on: not the same, so that a port that is not translated shows.
pub const TARGET: u16 = 8080;

/// The objects.
pub struct Objects {
    runtime: Runtime,
    client: Client,
    namespace: String,
    node: String,
}

/// A Service with one port and a VIP of each family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its VIPs, IPv4 first.
    pub vips: [IpAddr; 2],
}

impl Service {
    /// The VIPs with the port.
    pub fn at(&self) -> [SocketAddr; 2] {
        self.vips.map(|vip| (vip, PORT).into())
    }
}

impl Objects {
    pub(super) fn new(
        runtime: Runtime,
        control_plane: &ControlPlane,
        namespace: String,
        node: String,
    ) -> Result<Self> {
        let client = runtime.block_on(control_plane.client())?;
        Ok(Self {
            runtime,
            client,
            namespace,
            node,
        })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Makes a Service. The API server gives it its VIPs.
    pub fn put_service(&self, name: &str) -> Result<Service> {
        let made: v1::Service = self.put(
            name,
            &json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {
                    "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"],
                    "ports": [{"name": "http", "port": PORT, "targetPort": TARGET}],
                },
            }),
        )?;
        let spec = made.spec.unwrap_or_default();
        let vips = spec.cluster_ips.unwrap_or_default();
        let vips = vips
            .iter()
            .map(|vip| Ok(vip.parse()?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Service {
            name: name.to_owned(),
            vips: vips.try_into().ok().context("no two VIPs")?,
        })
    }

    /// Makes these pods the Service's endpoints, all ready, and no other.
    pub fn lead(&self, service: &Service, pods: &[&Pod]) -> Result<()> {
        for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
            let name = slice_name(service, family);
            let endpoints: Vec<Value> = pods
                .iter()
                .map(|pod| {
                    json!({
                        "addresses": [pod.addresses()[index]], "nodeName": self.node, "conditions": {"ready": true},
                    })
                })
                .collect();
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service.name}},
                "addressType": family,
                "ports": [{"name": "http", "port": TARGET}],
                "endpoints": endpoints,
            });
            self.put::<EndpointSlice>(&name, &slice)?;
        }
        Ok(())
    }

    /// Changes a label of an object, of which nothing follows but an event.
    pub fn touch(&self, resource: &str, name: &str) -> Result<()> {
        static TOUCHES: AtomicU64 = AtomicU64::new(0);
        let touch = TOUCHES.fetch_add(1, Ordering::Relaxed).to_string();
        let patch = Patch::Merge(json!({"metadata": {"labels": {"touched": touch}}}));
        let kind = match resource {
            "services" => ApiResource::erase::<v1::Service>(&()),
            _ => ApiResource::erase::<EndpointSlice>(&()),
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let params = PatchParams::default();
        let patched = api.patch(name, &params, &patch);
        self.runtime.block_on(patched)?;
        Ok(())
    }

    /// Removes a Service.
    pub fn remove(&self, service: &Service) -> Result<()> {
        let api: Api<v1::Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = DeleteParams::default();
        self.runtime.block_on(api.delete(&service.name, &params))?;
        Ok(())
    }

    /// Makes an object, or makes it what is given.
    pub fn put<K>(&self, name: &str, object: &Value) -> Result<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams::apply("test").force();
        let patch = Patch::Apply(object);
        let patched = self.runtime.block_on(api.patch(name, &params, &patch));
        patched.with_context(|| name.to_owned())
    }
}

/// Name of the slice of a family.
pub fn slice_name(service: &Service, family: &str) -> String {
    format!("{}-{}", service.name, family.to_lowercase())
}
