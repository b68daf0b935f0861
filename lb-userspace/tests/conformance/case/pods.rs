//! Pods: how a test asks for one, and what it has once the kubelet has made it.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1;
use kube::api::DeleteParams;
use lab::{Cgroup, Netns};
use serde_json::{Value, json};

use super::Case;

/// A pod that has its network.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Number of its node, counted from 1.
    pub node: usize,
    /// Its namespace; the node's, for a pod of the host network.
    pub netns: Netns,
    /// IPv4, then IPv6.
    pub addresses: [IpAddr; 2],
    /// What its server answers with.
    pub hostname: String,
    /// Where its processes are, if they are the node's own.
    cgroup: Option<Arc<Cgroup>>,
}

impl Pod {
    /// Runs `work` as a process of the pod would; its sockets are still to be made in the pod's namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.cgroup {
            Some(cgroup) => cgroup.run(work),
            None => work(),
        }
    }
}

/// What a pod shall be.
#[must_use = "a pod is made by `ready` or `running`"]
pub struct Recipe<'a, 'b> {
    case: &'a Case<'b>,
    name: String,
    node: Option<usize>,
    labels: Value,
    arguments: Vec<String>,
    container: Value,
    spec: Value,
}

impl<'b> Case<'b> {
    /// A pod of an application, on some node, that does nothing until told otherwise.
    pub fn pod<'a>(&'a self, name: &str) -> Recipe<'a, 'b> {
        Recipe {
            case: self,
            name: name.to_owned(),
            node: None,
            labels: json!({}),
            arguments: vec!["pause".to_owned()],
            container: json!({}),
            spec: json!({}),
        }
    }

    /// A pod to make requests from, on some node.
    pub fn client(&self) -> Result<Pod> {
        self.pod("client").ready()
    }

    /// A pod to make requests from, on a node.
    pub fn client_on(&self, node: usize) -> Result<Pod> {
        self.pod(&format!("client-{node}")).on(node).ready()
    }

    /// Pods of an application that answer HTTP requests and datagrams at a port, on different nodes.
    pub fn servers(&self, application: &str, count: usize, port: u16) -> Result<Vec<Pod>> {
        let recipes: Vec<_> = (1..=count)
            .map(|number| {
                let pod = self.pod(&format!("{application}-{number}"));
                pod.of(application).serving(port)
            })
            .collect();
        all_ready(recipes)
    }

    /// Asks for a pod's end, with the grace period that it has.
    pub fn delete_pod(&self, pod: &Pod) -> Result<()> {
        self.delete::<v1::Pod>(&pod.name, &DeleteParams::default())
    }

    /// Asks for a pod's end at once.
    pub fn kill_pod(&self, pod: &Pod) -> Result<()> {
        self.delete::<v1::Pod>(&pod.name, &DeleteParams::default().grace_period(0))
    }

    /// Waits until a pod's condition `Ready` is what is wanted.
    pub fn until_ready(&self, pod: &str, wanted: bool) -> Result<()> {
        let what = format!(
            "the pod {pod} to be {}",
            if wanted { "ready" } else { "unready" }
        );
        self.until(&what, || {
            let pod = self.get::<v1::Pod>(pod)?.context("the pod is gone")?;
            Ok((is_ready(&pod) == wanted).then_some(()))
        })
    }

    /// Waits until a pod is no more.
    pub fn until_gone(&self, pod: &Pod) -> Result<()> {
        self.until(&format!("the end of the pod {}", pod.name), || {
            Ok(self.get::<v1::Pod>(&pod.name)?.is_none().then_some(()))
        })
    }
}

/// Makes all of these pods at once and waits until they are ready.
pub fn all_ready(recipes: Vec<Recipe<'_, '_>>) -> Result<Vec<Pod>> {
    let nodes = recipes.iter().map(Recipe::make);
    let nodes: Vec<usize> = nodes.collect::<Result<_>>()?;
    let pods = recipes.iter().zip(nodes);
    pods.map(|(recipe, node)| recipe.until(node, true))
        .collect()
}

impl Recipe<'_, '_> {
    /// Makes it an endpoint of the Service with this name.
    pub fn of(self, application: &str) -> Self {
        self.labelled(json!({ "app": application }))
    }

    /// Gives it labels.
    pub fn labelled(mut self, labels: Value) -> Self {
        self.labels = labels;
        self
    }

    /// Puts it on a node, counted from 1.
    pub fn on(mut self, node: usize) -> Self {
        self.node = Some(node);
        self
    }

    /// It answers HTTP requests and datagrams at a port.
    pub fn serving(self, port: u16) -> Self {
        let flags = [format!("--http-port={port}"), format!("--udp-port={port}")];
        self.running_with(&["netexec", &flags[0], &flags[1]])
    }

    /// It answers SCTP messages at a port, besides what it does anyway.
    pub fn serving_sctp(mut self, port: u16) -> Self {
        self.arguments.push(format!("--sctp-port={port}"));
        self.port("sctp", port, "SCTP")
    }

    /// Words after the image's own program.
    pub fn running_with(mut self, words: &[&str]) -> Self {
        self.arguments = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Goes on for this long after it was told to end, and is given as much.
    pub fn lingering(mut self, seconds: u32) -> Self {
        self.arguments.push(format!("--delay-shutdown={seconds}"));
        self.with(json!({ "terminationGracePeriodSeconds": seconds }))
    }

    /// Names a port of its container.
    pub fn port(self, name: &str, number: u16, protocol: &str) -> Self {
        let port = json!({ "name": name, "containerPort": number, "protocol": protocol });
        let mut ports = self.container["ports"].clone();
        match &mut ports {
            Value::Array(ports) => ports.push(port),
            none => *none = json!([port]),
        }
        self.with_container(json!({ "ports": ports }))
    }

    /// It is in the network of its node.
    pub fn on_host_network(self) -> Self {
        self.with(json!({ "hostNetwork": true }))
    }

    /// Anything else of its specification.
    pub fn with(mut self, spec: Value) -> Self {
        merge(&mut self.spec, spec);
        self
    }

    /// Anything else of its container.
    pub fn with_container(mut self, container: Value) -> Self {
        merge(&mut self.container, container);
        self
    }

    /// Makes it and waits until it is ready.
    pub fn ready(self) -> Result<Pod> {
        self.until(self.make()?, true)
    }

    /// Makes it and waits until it has its network; it may not be ready.
    pub fn running(self) -> Result<Pod> {
        self.until(self.make()?, false)
    }

    /// Creates the object and returns the number of its node.
    fn make(&self) -> Result<usize> {
        let node = self.node.unwrap_or_else(|| self.case.some_node());
        let mut container = json!({ "name": "main", "image": "agnhost", "args": self.arguments });
        merge(&mut container, self.container.clone());
        let mut spec = json!({
            "nodeName": self.case.cluster.node(node).name,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        });
        merge(&mut spec, self.spec.clone());
        self.case.create::<v1::Pod>(json!({
            "metadata": { "name": self.name, "labels": self.labels },
            "spec": spec,
        }))?;
        Ok(node)
    }

    fn until(&self, node: usize, ready: bool) -> Result<Pod> {
        let Case {
            cluster, namespace, ..
        } = self.case;
        let what = format!("the pod {} to run", self.name);
        self.case.until(&what, || {
            let object = self.case.get::<v1::Pod>(&self.name)?;
            let object = object.context("the pod is gone")?;
            ensure!(
                !ready || is_ready(&object),
                "it is not ready: {}",
                serde_json::to_string(&object.status)?
            );
            let place = cluster.kubelet(node).place(namespace, &self.name)?;
            let on_host = self.spec["hostNetwork"] == true;
            ensure!(
                on_host == place.host_device.is_none(),
                "the pod {} is in the wrong network",
                self.name
            );
            if !on_host {
                self.case.networks().push(place.netns.clone());
            }
            Ok(Some(Pod {
                name: self.name.clone(),
                node,
                netns: place.netns,
                addresses: place.addresses,
                hostname: match on_host {
                    true => cluster.node(node).name.clone(),
                    false => self.name.clone(),
                },
                cgroup: on_host.then(|| cluster.cgroup(node)),
            }))
        })
    }
}

fn is_ready(pod: &v1::Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Lays one object's members over another's.
fn merge(whole: &mut Value, part: Value) {
    if let (Value::Object(whole), Value::Object(part)) = (whole, part) {
        whole.extend(part);
    }
}
