//! A pod: a namespace behind a veth. Servers started through it live as long as it does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;

use anyhow::{Context, Result};

use super::Node;
use super::cni::{Link, host_lines, pod_lines};
use super::host::set_defaults;
use crate::device::Device;
use crate::netns::Netns;
use crate::server::Server;

/// A pod on a node. Dropping it deletes it (not in a kept sandbox).
#[derive(Debug)]
pub struct Pod {
    /// Its name, without the lab's prefix.
    pub name: String,
    /// The name of its node.
    pub node: String,
    /// Its namespace.
    pub netns: Netns,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
    /// The name of the veth's end in the node: a workload device.
    pub host_device: String,
    node_netns: Netns,
    servers: Mutex<Vec<Server>>,
}

impl Pod {
    pub(super) fn create(node: &Node, name: &str, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Result<Pod> {
        let netns = Netns::create(&format!("{}{name}", node.settings.prefix))?;
        set_defaults(&netns)?;
        let mtu = node.settings.mtu;
        let host_device = host_device_name(name);
        let link = Link {
            host_device: &host_device,
            ipv4,
            ipv6,
            node: node.number,
            node_v4: node.ipv4,
            node_v6: node.ipv6,
        };
        let veth = format!(
            "link add name {host_device} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}",
            netns.name()
        );
        node.netns.ip(&[veth])?;
        netns.ip(&pod_lines(node.cni, &link))?;
        node.netns
            .ip(&host_lines(node.cni, &link))
            .with_context(|| format!("pod {name}"))?;
        let pod = Pod {
            name: name.to_owned(),
            node: node.name.clone(),
            netns,
            ipv4,
            ipv6,
            host_device,
            node_netns: node.netns.clone(),
            servers: Mutex::default(),
        };
        pod.host_side().wait_running()?;
        pod.eth0().wait_running()?;
        Ok(pod)
    }

    /// IPv4, then IPv6.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.ipv4.into(), self.ipv6.into()]
    }

    /// [`Pod::addresses`] with a port: what a client in this lab would connect to.
    pub fn sockets(&self, port: u16) -> [SocketAddr; 2] {
        self.addresses().map(|address| (address, port).into())
    }

    /// The device in the pod.
    pub fn eth0(&self) -> Device {
        Device::new(&self.netns, "eth0")
    }

    /// The device in the node: where a data plane attaches.
    pub fn host_side(&self) -> Device {
        Device::new(&self.node_netns, &self.host_device)
    }

    /// Both ends of the pod's link compute checksums in software; see [`Device::set_tx_checksum_offload`].
    ///
    /// # Errors
    /// When a device does not obey.
    pub fn set_tx_checksum_offload(&self, on: bool) -> Result<()> {
        self.eth0().set_tx_checksum_offload(on)?;
        self.host_side().set_tx_checksum_offload(on)
    }

    /// A [`Server::http`] in this pod, answering with its name, as long as the pod exists.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve_http(&self, port: u16) -> Result<()> {
        self.serve(Server::http(&self.netns, &self.name, port)?)
    }

    /// A [`Server::udp`] in this pod, answering with its name, as long as the pod exists.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve_udp(&self, port: u16) -> Result<()> {
        self.serve(Server::udp(&self.netns, &self.name, port)?)
    }

    /// A [`Server::sctp`] in this pod, answering with its name, as long as the pod exists.
    ///
    /// # Errors
    /// Without root.
    pub fn serve_sctp(&self, port: u16) -> Result<()> {
        self.serve(Server::sctp(&self.netns, &self.name, port)?)
    }

    /// A [`Server::stream`] in this pod, as long as the pod exists.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve_stream(&self, port: u16) -> Result<()> {
        self.serve(Server::stream(&self.netns, &self.name, port)?)
    }

    /// Removes the pod as a node would: its processes are killed, its device and namespace are gone when this returns.
    ///
    /// # Errors
    /// When something does not go away.
    pub fn delete(self) -> Result<()> {
        self.remove()
    }

    fn serve(&self, server: Server) -> Result<()> {
        self.servers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push(server);
        Ok(())
    }

    /// The device goes before the servers: a node's death is not announced to clients by resets either.
    fn remove(&self) -> Result<()> {
        if self.host_side().exists() {
            self.node_netns
                .ip(&[format!("link del {}", self.host_device)])?;
        }
        self.servers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clear();
        self.netns.delete()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if !self.netns.is_kept() {
            // Whatever remains goes with the sandbox.
            let _ = self.remove();
        }
    }
}

/// `veth-NAME`, or for a longer name as much of it as fits, and a digest of the rest: 15 characters at most.
fn host_device_name(pod: &str) -> String {
    let plain: String = pod
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .collect();
    if plain.len() <= 10 && plain == pod {
        return format!("veth-{plain}");
    }
    let digest = pod.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!(
        "veth-{}{:05x}",
        &plain[..plain.len().min(5)],
        digest & 0xf_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_host_devices_fit_and_differ() {
        assert_eq!(host_device_name("backend-1"), "veth-backend-1");
        let (one, two) = (
            host_device_name("backend-number-1"),
            host_device_name("backend-number-2"),
        );
        assert!(
            one.len() <= 15 && two.len() <= 15 && one != two,
            "{one} {two}"
        );
    }
}
