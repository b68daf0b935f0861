//! The two ways in which common CNI plugins attach a pod to its node, as lines for `ip`. They differ in what a data
//! plane on the host device sees: routed pods speak to the node only, bridged ones to each other directly.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::node::{pod_v4, pod_v6};

/// How a node attaches its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cni {
    /// Point to point, as `ptp` or Calico do: the pod has /32 and /128 addresses and a default route by 169.254.1.1 and
    /// fe80::1, which every host device has; the node has a host route to each pod.
    Routed,
    /// As `bridge` does: host devices are ports of `cni0`, which has the gateway's addresses (`.1`, `::1`); pods have
    /// /24 and /64 addresses and reach each other on the node without its IP stack.
    Bridge,
}

const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// A pod's link, as far as `ip` must know it.
pub(super) struct Link<'a> {
    pub host_device: &'a str,
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
    /// Its node's number and addresses.
    pub node: u8,
    pub node_v4: Ipv4Addr,
    pub node_v6: Ipv6Addr,
}

/// Once a node, in the node. The bridge comes up with its first pod: one without a running port has no carrier, and the
/// kernel may take a second to notice that it gets one.
pub(super) fn node_lines(cni: Cni, node: u8, mtu: u32) -> Vec<String> {
    match cni {
        Cni::Routed => vec![],
        // With a fixed address: otherwise the bridge takes that of some port, and changes it when pods come and go.
        Cni::Bridge => vec![
            format!(
                "link add name cni0 address 0a:58:0a:f4:{node:02x}:01 mtu {mtu} type bridge mcast_snooping 0"
            ),
            format!("addr add {}/24 dev cni0", pod_v4(node, 1)),
            format!("addr add {}/64 dev cni0 nodad", pod_v6(node, 1)),
        ],
    }
}

/// Once a pod, in the pod, before the host side.
pub(super) fn pod_lines(cni: Cni, link: &Link<'_>) -> Vec<String> {
    let Link {
        ipv4, ipv6, node, ..
    } = link;
    match cni {
        Cni::Routed => vec![
            format!("addr add {ipv4}/32 dev eth0"),
            format!("addr add {ipv6}/128 dev eth0 nodad"),
            "link set eth0 up".into(),
            format!("route add {GATEWAY_V4} dev eth0 scope link"),
            format!("route add default via {GATEWAY_V4} dev eth0"),
            format!("route add default via {GATEWAY_V6} dev eth0"),
        ],
        Cni::Bridge => vec![
            format!("addr add {ipv4}/24 dev eth0"),
            format!("addr add {ipv6}/64 dev eth0 nodad"),
            "link set eth0 up".into(),
            format!("route add default via {} dev eth0", pod_v4(*node, 1)),
            format!("route add default via {} dev eth0", pod_v6(*node, 1)),
        ],
    }
}

/// Once a pod, in the node, after the pod side.
pub(super) fn host_lines(cni: Cni, link: &Link<'_>) -> Vec<String> {
    let Link {
        host_device,
        ipv4,
        ipv6,
        node_v4,
        node_v6,
        ..
    } = link;
    match cni {
        Cni::Routed => vec![
            format!("addr add {GATEWAY_V4}/32 dev {host_device}"),
            format!("addr add {GATEWAY_V6}/64 dev {host_device} nodad"),
            format!("link set {host_device} up"),
            format!("route add {ipv4}/32 dev {host_device} src {node_v4}"),
            format!("route add {ipv6}/128 dev {host_device} src {node_v6}"),
        ],
        Cni::Bridge => vec![
            format!("link set {host_device} master cni0 up"),
            "link set cni0 up".into(),
        ],
    }
}
