//! A machine on the uplink network: its namespace, its uplink device, its addresses. Nodes are built on one; by itself
//! it is a client outside the cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{OUTSIDE, Settings};
use crate::device::Device;
use crate::netns::Netns;

const UPLINK: &str = "eth0";

/// A machine on the uplink network that is no node.
#[derive(Debug)]
pub struct Host {
    /// Its name, without the lab's prefix.
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Ipv6Addr,
}

impl Host {
    pub(super) fn create(
        settings: &Settings,
        name: &str,
        number: u8,
        switch: &Netns,
    ) -> Result<Host> {
        let netns = Netns::create(&format!("{}{name}", settings.prefix))?;
        set_defaults(&netns)?;
        let host = Host {
            name: name.to_owned(),
            netns,
            ipv4: uplink_v4(number),
            ipv6: uplink_v6(number),
        };
        let mtu = settings.mtu;
        let switch = switch.name();
        host.netns.ip(&[
            format!("link add name {UPLINK} mtu {mtu} type veth peer name {name} mtu {mtu} netns {switch}"),
            format!("addr add {}/24 dev {UPLINK}", host.ipv4),
            format!("addr add {}/64 dev {UPLINK} nodad", host.ipv6),
            format!("link set {UPLINK} up"),
        ])?;
        Ok(host)
    }

    /// IPv4, then IPv6.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.ipv4.into(), self.ipv6.into()]
    }

    /// The device towards the other machines.
    pub fn uplink(&self) -> Device {
        Device::new(&self.netns, UPLINK)
    }

    /// Routes to the pods of nodes 1 to `count`, but to no VIP.
    pub(super) fn route_to_pods(&self, count: u8) -> Result<()> {
        let routes: Vec<String> = (1..=count).flat_map(routes_to_pods_of).collect();
        self.netns.ip(&routes)
    }
}

/// The same start for every namespace: the kernel copies IPv4 settings from the machine's (`ip_forward=1` where
/// containers run). And no router advertisements and no duplicate address detection: addresses work at once.
pub(super) fn set_defaults(netns: &Netns) -> Result<()> {
    netns.set_sysctls(&[
        // First, since it resets others.
        ("ipv4/ip_forward", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/arp_ignore", "0"),
        ("ipv4/conf/default/arp_ignore", "0"),
        ("ipv4/conf/all/arp_announce", "0"),
        ("ipv4/conf/default/arp_announce", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/dad_transmits", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
    ])
}

pub(super) fn uplink_v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 50, number)
}

pub(super) fn uplink_v6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x50, 0, 0, 0, 0, 0, number.into())
}

pub(super) fn gateway_lines() -> [String; 2] {
    [
        format!("route add default via {}", uplink_v4(OUTSIDE)),
        format!("route add default via {} dev {UPLINK}", uplink_v6(OUTSIDE)),
    ]
}

pub(super) fn routes_to_pods_of(node: u8) -> [String; 2] {
    [
        format!("route add 10.244.{node}.0/24 via {}", uplink_v4(node)),
        format!(
            "route add {}/64 via {} dev {UPLINK}",
            super::node::pod_v6(node, 0),
            uplink_v6(node)
        ),
    ]
}
