//! Services. Unless a test wants another they have an address of each family.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::Case;

/// A Service as the API server has it.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name; pods of an application with this name are its endpoints.
    pub name: String,
    /// Its VIPs, the primary one first.
    pub addresses: Vec<IpAddr>,
}

impl Service {
    /// Every VIP with a port.
    pub fn at(&self, port: u16) -> Vec<SocketAddr> {
        let each = self.addresses.iter();
        each.map(|address| (*address, port).into()).collect()
    }

    /// The first VIP with a port.
    pub fn primary(&self, port: u16) -> Vec<SocketAddr> {
        self.at(port).into_iter().take(1).collect()
    }

    /// The second VIP with a port.
    pub fn secondary(&self, port: u16) -> Vec<SocketAddr> {
        self.at(port).into_iter().skip(1).collect()
    }
}

impl Case<'_> {
    /// Creates a Service. Pods whose label `app` is its name are its endpoints unless `spec` has another selector.
    pub fn service(&self, name: &str, spec: Value) -> Result<Service> {
        self.labelled_service(name, json!({}), spec)
    }

    /// Creates a Service that has labels.
    pub fn labelled_service(&self, name: &str, labels: Value, spec: Value) -> Result<Service> {
        let object: v1::Service = self.create(json!({
            "metadata": { "name": name, "labels": labels },
            "spec": with_defaults(name, spec),
        }))?;
        of(&object)
    }

    /// Creates a Service with one TCP port.
    pub fn tcp_service(&self, name: &str, port: u16, target: u16) -> Result<Service> {
        self.service(
            name,
            json!({ "ports": [{ "port": port, "targetPort": target }] }),
        )
    }

    /// Changes a Service's specification by a merge patch.
    pub fn change_service(&self, name: &str, spec: Value) -> Result<Service> {
        of(&self.change(name, json!({ "spec": spec }))?)
    }

    /// Asks for a Service's end.
    pub fn delete_service(&self, name: &str) -> Result<()> {
        self.delete::<v1::Service>(name, &DeleteParams::default())
    }
}

/// A Service from its object.
pub fn of(object: &v1::Service) -> Result<Service> {
    let spec = object.spec.as_ref().context("a Service without a spec")?;
    let addresses = spec.cluster_ips.iter().flatten();
    let addresses: Result<Vec<IpAddr>, _> = addresses.map(|address| address.parse()).collect();
    Ok(Service {
        name: object.metadata.name.clone().unwrap_or_default(),
        addresses: addresses.context("a VIP that is no address")?,
    })
}

fn with_defaults(name: &str, spec: Value) -> Value {
    let external = spec["type"] == "ExternalName";
    let mut whole = match external {
        true => json!({}),
        false => json!({ "selector": { "app": name }, "ipFamilyPolicy": "PreferDualStack" }),
    };
    if let (Value::Object(whole), Value::Object(spec)) = (&mut whole, spec) {
        whole.extend(spec);
    }
    whole
}
