//! Which role a device has for a selector, and what keeps one from being a workload device that else would be.
//!
//! Pure: a device as it is reported goes in. That a node's own interface stays one is the tracker's business.

use super::{Device, Selector};

/// What a device is to the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It gets the programs.
    Workload,
    /// It looks like a workload device, but for this.
    LeftOut(Exclusion),
    /// It is none of the agent's business.
    Other,
}

/// Why a device that the selector would choose is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exclusion {
    /// A default route leads out of it: it is the node's uplink.
    Uplink,
    /// It has an address in a subnet: it is another interface of the node. The host side of a pod's device has none, or that
    /// of a gateway, which stands alone (/32, /128) or is link-local.
    Subnet,
    /// Its packets have no Ethernet header (WireGuard, tun, netkit in L3 mode).
    NoEthernet,
}

impl Exclusion {
    /// Whether it tells that the device is an interface of the node itself.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::Uplink | Self::Subnet)
    }
}

/// The role of a device.
pub fn role(device: &Device, selector: &Selector) -> Role {
    match selector {
        Selector::Peers if device.kind != "veth" || !device.peer_is_elsewhere => Role::Other,
        Selector::Peers if device.is_uplink => Role::LeftOut(Exclusion::Uplink),
        Selector::Peers if device.has_subnet => Role::LeftOut(Exclusion::Subnet),
        Selector::Peers => Role::Workload,
        Selector::Names(globs) => {
            if device.is_loopback || !globs.iter().any(|glob| glob.matches(&device.name)) {
                Role::Other
            } else if device.is_ethernet {
                Role::Workload
            } else {
                Role::LeftOut(Exclusion::NoEthernet)
            }
        }
    }
}

/// Whether a device gets the programs.
pub fn is_workload(device: &Device, selector: &Selector) -> bool {
    role(device, selector) == Role::Workload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth(name: &str) -> Device {
        Device {
            ifindex: 7,
            name: name.into(),
            kind: "veth".into(),
            peer_is_elsewhere: true,
            is_loopback: false,
            is_ethernet: true,
            is_uplink: false,
            has_subnet: false,
        }
    }

    fn check(device: Device, patterns: &[&str], expected: bool) {
        let selector = Selector::from_patterns(patterns).unwrap();
        assert_eq!(
            is_workload(&device, &selector),
            expected,
            "{device:?} with {patterns:?}"
        );
    }

    #[test]
    fn a_veth_whose_peer_is_in_another_namespace_is_a_workload_device() {
        check(veth("veth0"), &[], true);
    }

    #[test]
    fn other_devices_are_not() {
        check(
            Device {
                peer_is_elsewhere: false,
                ..veth("veth0")
            },
            &[],
            false,
        );
        check(
            Device {
                kind: "bridge".into(),
                ..veth("cni0")
            },
            &[],
            false,
        );
        check(
            Device {
                kind: "vxlan".into(),
                ..veth("flannel.1")
            },
            &[],
            false,
        );
        check(
            Device {
                kind: String::new(),
                peer_is_elsewhere: false,
                ..veth("ens3")
            },
            &[],
            false,
        );
    }

    #[test]
    fn the_uplink_is_not_though_it_is_a_veth_with_its_peer_elsewhere() {
        check(
            Device {
                is_uplink: true,
                ..veth("eth0")
            },
            &[],
            false,
        );
    }

    #[test]
    fn with_patterns_only_the_name_counts() {
        check(veth("veth0"), &["cali*"], false);
        check(veth("cali12345"), &["lxc*", "cali*"], true);
        check(
            Device {
                kind: "netkit".into(),
                ..veth("lxc1")
            },
            &["lxc*"],
            true,
        );
        check(
            Device {
                is_uplink: true,
                ..veth("eth0")
            },
            &["eth*"],
            true,
        );
    }

    #[test]
    fn the_loopback_device_is_none_whatever_the_pattern() {
        let loopback = Device {
            is_loopback: true,
            kind: String::new(),
            ..veth("lo")
        };
        check(loopback, &["*"], false);
    }

    fn check_left_out(device: Device, patterns: &[&str], why: Exclusion) {
        let selector = Selector::from_patterns(patterns).unwrap();
        assert_eq!(role(&device, &selector), Role::LeftOut(why), "{device:?}");
    }

    #[test]
    fn a_veth_with_a_subnet_is_another_interface_of_the_node() {
        let second = Device {
            has_subnet: true,
            ..veth("eth1")
        };
        check_left_out(second.clone(), &[], Exclusion::Subnet);
        check(second, &["eth1"], true);
    }

    #[test]
    fn a_device_without_ethernet_header_is_left_out_though_it_is_named() {
        let tunnel = Device {
            kind: "wireguard".into(),
            is_ethernet: false,
            ..veth("wg0")
        };
        check_left_out(tunnel.clone(), &["wg*"], Exclusion::NoEthernet);
        check(tunnel, &["cali*"], false);
    }
}
