//! A node: a host that forwards, with a range of pod addresses and a way of attaching pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Result, ensure};

use super::host::{Host, gateway_lines, routes_to_pods_of};
use super::{Cni, Pod, Settings, cni};
use crate::device::Device;
use crate::netns::Netns;

/// A node of the cluster: a namespace that forwards between its pods and its uplink.
#[derive(Debug)]
pub struct Node {
    /// `node1`, `node2` …: without the lab's prefix, as in a Node object.
    pub name: String,
    /// Counted from 1; it is in all of the node's addresses.
    pub number: u8,
    /// Its namespace.
    pub netns: Netns,
    /// Its IPv4 address on the uplink network.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address on the uplink network.
    pub ipv6: Ipv6Addr,
    /// How its pods are attached.
    pub cni: Cni,
    pub(super) settings: Settings,
    next_pod: AtomicU8,
}

impl Node {
    pub(super) fn create(
        settings: &Settings,
        number: u8,
        count: u8,
        cni: Cni,
        switch: &Netns,
    ) -> Result<Node> {
        let Host {
            name,
            netns,
            ipv4,
            ipv6,
        } = Host::create(settings, &format!("node{number}"), number, switch)?;
        netns.set_sysctls(&[
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/default/forwarding", "1"),
            // Strict, as distributions set it: a translation that leaves odd addresses behind must fail here too.
            ("ipv4/conf/all/rp_filter", "1"),
            ("ipv4/conf/default/rp_filter", "1"),
        ])?;
        let others = (1..=count).filter(|&other| other != number);
        let mut lines: Vec<String> = others.flat_map(routes_to_pods_of).collect();
        lines.extend(gateway_lines());
        lines.extend(cni::node_lines(cni, number, settings.mtu));
        netns.ip(&lines)?;
        Ok(Node {
            name,
            number,
            netns,
            ipv4,
            ipv6,
            cni,
            settings: settings.clone(),
            next_pod: 2.into(),
        })
    }

    /// A pod with the next free addresses of the node; addresses are not used twice.
    ///
    /// # Errors
    /// When the name is taken or no address is left.
    pub fn add_pod(&self, name: &str) -> Result<Pod> {
        let index = self.next_pod.fetch_add(1, Ordering::Relaxed);
        ensure!(
            (2..255).contains(&index),
            "{} has no address left for the pod {name}",
            self.name
        );
        self.add_pod_with_ips(name, pod_v4(self.number, index), pod_v6(self.number, index))
    }

    /// A pod with these addresses, which should be of the node's ranges: a pod re-created with the same addresses, or a
    /// new one with those of an old one. Choose last parts from 100 up to keep clear of [`Node::add_pod`].
    ///
    /// # Errors
    /// When the name or an address is taken.
    pub fn add_pod_with_ips(&self, name: &str, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Result<Pod> {
        Pod::create(self, name, ipv4, ipv6)
    }

    /// IPv4, then IPv6.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.ipv4.into(), self.ipv6.into()]
    }

    /// The device towards the other machines.
    pub fn uplink(&self) -> Device {
        Device::new(&self.netns, "eth0")
    }

    /// The node's pod ranges, as in `spec.podCIDRs` of a Node object: IPv4, then IPv6.
    pub fn pod_cidrs(&self) -> [String; 2] {
        [
            format!("10.244.{}.0/24", self.number),
            format!("{}/64", pod_v6(self.number, 0)),
        ]
    }
}

pub(super) fn pod_v4(node: u8, index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node, index)
}

pub(super) fn pod_v6(node: u8, index: u8) -> Ipv6Addr {
    // The node's number is written in decimal digits, so that both families read alike.
    let digits = u16::from(node / 100) << 8 | u16::from(node / 10 % 10) << 4 | u16::from(node % 10);
    Ipv6Addr::new(0xfd00, 0x10, 0x244, digits, 0, 0, 0, index.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_show_the_node_number_alike() {
        for (node, v4, v6) in [
            (1, "10.244.1.2", "fd00:10:244:1::2"),
            (123, "10.244.123.2", "fd00:10:244:123::2"),
        ] {
            assert_eq!(pod_v4(node, 2).to_string(), v4);
            assert_eq!(pod_v6(node, 2).to_string(), v6);
        }
    }
}
