//! A pod's network: a namespace of its own, or its node's.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use lab::Netns;

use super::Shared;
use super::addresses::Lease;
use super::environment::Facts;

/// The network of one pod.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub netns: Netns,
    pub facts: Facts,
    own: Option<(lab::Pod, Lease)>,
}

/// A pod's place in the lab, for a test that looks at it or runs programs in it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its namespace; the node's, for a pod of the host network.
    pub netns: Netns,
    /// IPv4, then IPv6.
    pub addresses: [IpAddr; 2],
    /// The name of the veth's end in the node; none for a pod of the host network.
    pub host_device: Option<String>,
}

impl Sandbox {
    /// Makes it. Blocks for some hundredths of a second. `attempt` keeps names apart where one is taken.
    ///
    /// # Errors
    /// When no address is left, or the name or an address is taken.
    pub fn create(kubelet: &Arc<Shared>, pod: &Pod, attempt: u32) -> Result<Sandbox> {
        let node = kubelet.node();
        let spec = pod.spec.as_ref().context("a pod without a spec")?;
        let mut facts = Facts {
            node: kubelet.name.clone(),
            hostname: kubelet.name.clone(),
            pod_ips: node.addresses(),
            host_ips: node.addresses(),
        };
        if spec.host_network == Some(true) {
            return Ok(Sandbox {
                netns: node.netns.clone(),
                facts,
                own: None,
            });
        }
        let lease = kubelet.addresses.take()?;
        let made = node.add_pod_with_ips(&lab_name(pod, attempt), lease.ipv4, lease.ipv6);
        let made = made.and_then(|made| {
            made.set_tx_checksum_offload(kubelet.options.checksum_offload)?;
            // What a CNI plugin does by announcing a new pod: nobody sends to the Ethernet address of an earlier one.
            node.netns.ip(&[
                format!("neigh flush to {}", lease.ipv4),
                format!("neigh flush to {}", lease.ipv6),
            ])?;
            Ok(made)
        });
        let made = made.inspect_err(|_| kubelet.addresses.give_back(lease))?;
        facts.pod_ips = made.addresses();
        facts.hostname = spec.hostname.clone().unwrap_or_else(|| pod.name_any());
        Ok(Sandbox {
            netns: made.netns.clone(),
            facts,
            own: Some((made, lease)),
        })
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        Place {
            netns: self.netns.clone(),
            addresses: self.facts.pod_ips,
            host_device: self.own.as_ref().map(|(pod, _)| pod.host_device.clone()),
        }
    }

    /// Removes it, with the processes inside. Blocks for some hundredths of a second.
    ///
    /// # Errors
    /// When something does not go away.
    pub fn remove(self, kubelet: &Shared) -> Result<()> {
        let Some((pod, lease)) = self.own else {
            return Ok(());
        };
        // No namespace is removed while handles to it make threads enter it.
        drop(self.netns);
        let removed = pod.delete();
        kubelet.addresses.give_back(lease);
        removed
    }
}

/// As `kubectl get pods` shows it, in the namespace `default`.
fn lab_name(pod: &Pod, attempt: u32) -> String {
    let name = match pod.namespace().unwrap_or_default().as_str() {
        "default" | "" => pod.name_any(),
        namespace => format!("{namespace}.{}", pod.name_any()),
    };
    match attempt {
        0 => name,
        attempt => format!("{name}.{attempt}"),
    }
}
