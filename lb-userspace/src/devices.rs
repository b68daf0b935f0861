//! Which devices carry workloads: the host sides of pods' devices in the network namespace that the agent runs in.
//!
//! [`Selector`] decides, [`DeviceWatcher`] follows the kernel's changes, [`DeviceFollower`] sees to it that each workload
//! device has its programs. How programs are attached is `datapath`'s business; nothing here knows a CNI.

mod follower;
mod glob;
mod kernel;
mod status;
mod tracker;
mod watcher;

pub use follower::{Attacher, DeviceFollower};
pub use glob::{Glob, GlobError};
pub use status::{DeviceState, DeviceStatus, FollowerStatus};
pub use tracker::DeviceEvent;
pub use watcher::{DeviceWatcher, WatchError, list};

/// A network device, as far as it matters whether it carries a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// The kernel's number of it, unique in its namespace until the machine restarts.
    pub ifindex: u32,
    /// Its name; it can change.
    pub name: String,
    /// What the driver calls itself (`veth`, `bridge`), empty for hardware.
    pub kind: String,
    /// Whether it is one end of a pair whose other end is in another network namespace.
    pub peer_is_elsewhere: bool,
    /// Whether it is the loopback device.
    pub is_loopback: bool,
    /// Whether a default route leads out of it.
    pub is_uplink: bool,
}

/// Which devices are workload devices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Selector {
    /// Every veth whose peer is in another network namespace, except the uplink: where nodes are containers themselves,
    /// a node's own `eth0` is such a veth.
    #[default]
    Peers,
    /// Every device whose name matches one of these, and no other.
    Names(Vec<Glob>),
}

impl Selector {
    /// A selector of name patterns; of peers where there is no pattern.
    ///
    /// # Errors
    /// If a pattern could never match a device name; the error names it.
    pub fn from_patterns<S: AsRef<str>>(
        patterns: impl IntoIterator<Item = S>,
    ) -> Result<Self, GlobError> {
        let globs = patterns
            .into_iter()
            .map(|p| Glob::new(p.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(if globs.is_empty() {
            Self::Peers
        } else {
            Self::Names(globs)
        })
    }
}

/// Whether a device gets the programs.
pub fn is_workload(device: &Device, selector: &Selector) -> bool {
    match selector {
        Selector::Peers => device.kind == "veth" && device.peer_is_elsewhere && !device.is_uplink,
        Selector::Names(globs) => {
            !device.is_loopback && globs.iter().any(|glob| glob.matches(&device.name))
        }
    }
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
            is_uplink: false,
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

    #[test]
    fn a_pattern_that_matches_nothing_is_refused() {
        for pattern in ["", "a/b", "sixteen-or-more-c", "with space"] {
            let error = Selector::from_patterns([pattern]).unwrap_err();
            assert!(error.to_string().contains(pattern), "{error}");
        }
    }
}
