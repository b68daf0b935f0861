//! The cluster of one size, and the fresh node that each start of a data plane gets: a client's pod on it, and two backends
//! on another node, between which one Service changes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cluster::{ControlPlane, Identity, Options};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, PostParams};
use lab::{Lab, Pod, Sandbox};
use serde_json::json;
use tokio::runtime::Runtime;

use super::fill::{self, NAMESPACE};
use super::meter::Meter;
use super::quiet::wait_until_quiet;

/// The node that every data plane runs on, one after the other.
pub const NODE: &str = "node1";
/// The Service that is asked. It comes last in the order of names, which is also the order in which kube-proxy writes.
pub const PROBED: &str = "service-probed";
/// The two that may answer.
pub const BACKENDS: [&str; 2] = ["backend-a", "backend-b"];
/// As [`fill::slice`] has it.
const BACKEND_PORT: u16 = 8080;

/// An API server with so many Services.
pub struct Site<'a> {
    /// How many, the probed one not counted.
    pub services: u32,
    /// For requests.
    pub client: Client,
    /// Where they run.
    pub runtime: &'a Runtime,
    /// Where the client asks.
    pub probed: SocketAddr,
    control_plane: ControlPlane,
}

/// A node without a data plane.
pub struct Stand {
    /// The pod that asks.
    pub client: Pod,
    /// The way to the API server.
    pub meter: Meter,
    backends: [Pod; 2],
    lab: Lab,
}

impl<'a> Site<'a> {
    /// Starts the control plane on a copy of an etcd directory.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(services: u32, data: &Path, runtime: &'a Runtime) -> Result<Site<'a>> {
        let copy = Sandbox::current()?
            .directory()
            .join(format!("etcd-{services}"));
        let status = Command::new("cp").arg("-a").arg(data).arg(&copy).status()?;
        ensure!(status.success(), "cannot copy {}", data.display());
        let control_plane = ControlPlane::start(Options {
            etcd_directory: Some(copy),
            ..Options::default()
        })?;
        let client = runtime.block_on(control_plane.client())?;
        runtime.block_on(fill::assert_holds(&client, services, data))?;
        let lab = Lab::builder().nodes(2).build()?;
        let node = lab.node(1);
        runtime.block_on(control_plane.add_node(
            NODE,
            &[],
            &node.addresses(),
            &node.pod_cidrs(),
        ))?;
        let probed = runtime.block_on(create_probed(&client))?;
        wait_until_quiet(control_plane.netns())?;
        Ok(Site {
            services,
            client,
            runtime,
            probed,
            control_plane,
        })
    }

    /// A node without a data plane, and pods.
    ///
    /// # Errors
    /// When something of it cannot be made.
    pub fn stand(&self) -> Result<Stand> {
        let lab = Lab::builder().nodes(2).build()?;
        let client = lab.node(1).add_pod("client")?;
        let add = |name| -> Result<Pod> {
            let pod = lab.node(2).add_pod(name)?;
            pod.serve_http(BACKEND_PORT)?;
            Ok(pod)
        };
        let backends = [add(BACKENDS[0])?, add(BACKENDS[1])?];
        let meter = Meter::start(
            &lab.node(1).netns,
            self.control_plane.netns(),
            self.control_plane.api_server_address(),
        )?;
        Ok(Stand {
            client,
            meter,
            backends,
            lab,
        })
    }

    /// Writes the kubeconfig of a data plane on a node: what it is allowed is what kube-proxy is allowed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig(&self, stand: &Stand, file: &Path) -> Result<()> {
        let identity = Identity::user("system:kube-proxy");
        let address = stand.meter.address();
        let text = self.control_plane.kubeconfig_for(&identity, address)?;
        fs::write(file, text).with_context(|| file.display().to_string())
    }

    /// Ends the control plane.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(self) -> Result<()> {
        self.control_plane.stop()
    }
}

impl Stand {
    /// The node's namespace.
    pub fn node(&self) -> &lab::Netns {
        &self.lab.node(1).netns
    }

    /// The endpoints of the probed Service, when only this backend is one.
    pub fn endpoints(&self, backend: usize) -> serde_json::Value {
        let pod = &self.backends[backend];
        json!([{
            "addresses": [pod.ipv4],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": pod.node,
        }])
    }
}

async fn create_probed(client: &Client) -> Result<SocketAddr> {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": PROBED},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": BACKEND_PORT}]},
    }))?;
    let slice: EndpointSlice = serde_json::from_value(fill::slice(PROBED, &json!([])))?;
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let how = PostParams::default();
    let created = services.create(&how, &service).await?;
    slices.create(&how, &slice).await?;
    let address = created.spec.and_then(|spec| spec.cluster_ip);
    let address = address.context("the Service got no address")?;
    Ok((address.parse::<std::net::IpAddr>()?, 80).into())
}
