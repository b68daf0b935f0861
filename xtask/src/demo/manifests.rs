//! The directory of manifests that the agents follow. A file appears whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::Node;

use super::endpoints::Endpoints;
use super::services;
use crate::workspace;

/// The manifests of the example, as a user would write them.
pub fn examples() -> PathBuf {
    workspace::root().join("deploy/example")
}

/// A directory of manifests.
#[derive(Debug)]
pub struct Manifests {
    directory: PathBuf,
}

impl Manifests {
    /// Makes the directory with the manifests of the example and the Nodes in it.
    ///
    /// # Errors
    /// When the files cannot be read or written.
    pub fn create(directory: PathBuf, nodes: &[Node]) -> Result<Self> {
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let manifests = Self { directory };
        for service in services::ALL {
            let file = format!("{}.yaml", service.name);
            let source = examples().join(&file);
            let text = fs::read_to_string(&source)
                .with_context(|| format!("cannot read {}", source.display()))?;
            manifests.write(&file, &text)?;
        }
        let nodes: Vec<String> = nodes.iter().map(node).collect();
        manifests.write("nodes.yaml", &nodes.join("---\n"))?;
        Ok(manifests)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes what has changed of the EndpointSlices, a file a Service.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn publish(&self, endpoints: &Endpoints) -> Result<()> {
        for service in services::ALL {
            let file = format!("{}-endpoints.yaml", service.name);
            let text = endpoints.slices(service);
            if fs::read_to_string(self.directory.join(&file)).is_ok_and(|old| old == text) {
                continue;
            }
            self.write(&file, &text)?;
        }
        Ok(())
    }

    /// Puts a file in its place in one go.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.directory.join(file);
        // Agents leave hidden files alone.
        let fresh = self.directory.join(format!(".{file}.new"));
        fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn node(node: &Node) -> String {
    let [pods_v4, pods_v6] = node.pod_cidrs();
    format!(
        "apiVersion: v1
kind: Node
metadata:
  name: {name}
  labels:
    kubernetes.io/hostname: {name}
spec:
  podCIDR: {pods_v4}
  podCIDRs: [\"{pods_v4}\", \"{pods_v6}\"]
status:
  addresses:
    - {{type: InternalIP, address: \"{ipv4}\"}}
    - {{type: InternalIP, address: \"{ipv6}\"}}
",
        name = node.name,
        ipv4 = node.ipv4,
        ipv6 = node.ipv6,
    )
}
