//! Which devices carry workloads: the host sides of pods' devices in the network namespace that the agent runs in.
//!
//! [`Selector`] decides, [`DeviceWatcher`] follows the kernel's changes, [`DeviceFollower`] sees to it that each workload
//! device has its programs; [`pods`] tells which pods the node reaches by them,
//! [`remote`] how it reaches those of others. How programs are attached is `datapath`'s
//! business; nothing here knows a CNI.

mod follower;
mod glob;
mod kernel;
pub(crate) mod neighbourhood;
pub mod pods;
pub mod remote;
mod role;
mod status;
mod tracker;
mod watcher;

pub use follower::{Attacher, DeviceFollower};
pub use glob::{Glob, GlobError};
pub use role::{Exclusion, Role, is_workload, role};
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
    /// Whether its link layer is Ethernet (ARPHRD_ETHER), as the programs need it.
    pub is_ethernet: bool,
    /// Whether a default route leads out of it.
    pub is_uplink: bool,
    /// Whether it has an address in a subnet: an IPv4 prefix below 31 or an IPv6 prefix below 127, link-local ones aside.
    pub has_subnet: bool,
}

/// Which devices are workload devices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Selector {
    /// Every veth whose peer is in another network namespace, except the node's own interfaces: where nodes are containers
    /// themselves, their `eth0` is such a veth.
    #[default]
    Peers,
    /// Every Ethernet device whose name matches one of these, and no other.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_matches_nothing_is_refused() {
        for pattern in ["", "a/b", "sixteen-or-more-c", "with space"] {
            let error = Selector::from_patterns([pattern]).unwrap_err();
            assert!(error.to_string().contains(pattern), "{error}");
        }
    }
}
