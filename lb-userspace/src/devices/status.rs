//! What the follower tells about itself, for `lb status`, metrics and readiness.

use std::collections::BTreeMap;

/// The state of all workload devices, by ifindex.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FollowerStatus {
    /// The workload devices.
    pub devices: BTreeMap<u32, DeviceStatus>,
    /// Whether each device that existed at the start has been tried once.
    pub is_complete: bool,
}

impl FollowerStatus {
    /// How many devices carry their programs.
    pub fn attached(&self) -> usize {
        self.count(|state| *state == DeviceState::Attached)
    }

    /// How many devices are without their programs and will be tried again.
    pub fn failing(&self) -> usize {
        self.count(|state| matches!(state, DeviceState::Failed { .. }))
    }

    fn count(&self, of: impl Fn(&DeviceState) -> bool) -> usize {
        self.devices.values().filter(|d| of(&d.state)).count()
    }
}

/// One workload device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// Whether it has its programs.
    pub state: DeviceState,
}

/// Whether a device has its programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceState {
    /// Not tried yet.
    Pending,
    /// It has them.
    Attached,
    /// The last try failed.
    Failed {
        /// How often it has failed in a row.
        tries: u32,
        /// Why.
        error: String,
    },
}
