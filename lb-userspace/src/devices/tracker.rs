//! What is known of the workload devices, and what changes with each report. Pure: no socket, no clock.

use std::collections::{BTreeMap, BTreeSet};

use super::{Device, Exclusion, Role, Selector, role};

/// A change of the set of workload devices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceEvent {
    /// A device is a workload device from now on.
    Added(Device),
    /// A device is gone, or no workload device any more. The number is its ifindex.
    Removed(u32),
    /// A workload device has another name now.
    Renamed(Device),
    /// These are all workload devices. Told from time to time, and after notifications were lost: an occasion to look for
    /// changes that are never notified.
    Listed(Vec<Device>),
}

/// The workload devices.
#[derive(Debug)]
pub(super) struct Tracker {
    selector: Selector,
    known: BTreeMap<u32, Device>,
    /// Devices that are left out, and why.
    left_out: BTreeMap<u32, Exclusion>,
    /// Those of them that nobody was told of yet.
    untold: Vec<(Device, Exclusion)>,
}

impl Tracker {
    pub(super) fn new(selector: Selector) -> Self {
        Self {
            selector,
            known: BTreeMap::new(),
            left_out: BTreeMap::new(),
            untold: Vec::new(),
        }
    }

    /// A device was reported as it is now.
    pub(super) fn seen(&mut self, device: Device) -> Option<DeviceEvent> {
        match self.role(&device) {
            Role::Workload => {
                self.left_out.remove(&device.ifindex);
            }
            Role::Other => {
                // A node's own interface may be reported in between as if it were something else.
                if !self.is_own(device.ifindex) {
                    self.left_out.remove(&device.ifindex);
                }
                return self.no_workload(device.ifindex);
            }
            Role::LeftOut(why) => {
                let ifindex = device.ifindex;
                if self.left_out.insert(ifindex, why).is_none() {
                    self.untold.push((device, why));
                }
                return self.no_workload(ifindex);
            }
        }
        match self.known.insert(device.ifindex, device.clone()) {
            None => Some(DeviceEvent::Added(device)),
            Some(before) if before.name != device.name => Some(DeviceEvent::Renamed(device)),
            Some(_) => None,
        }
    }

    /// A device was reported gone.
    pub(super) fn gone(&mut self, ifindex: u32) -> Option<DeviceEvent> {
        self.left_out.remove(&ifindex);
        self.no_workload(ifindex)
    }

    /// The devices that are left out and were not told of before, each once while it exists.
    pub(super) fn newly_left_out(&mut self) -> Vec<(Device, Exclusion)> {
        std::mem::take(&mut self.untold)
    }

    /// The role of a device. A node's own interface stays one for as long as it exists: routes and addresses come and go.
    fn role(&self, device: &Device) -> Role {
        match (
            role(device, &self.selector),
            self.left_out.get(&device.ifindex),
        ) {
            (Role::Workload, Some(why)) if why.is_own() => Role::LeftOut(*why),
            (role, _) => role,
        }
    }

    fn is_own(&self, ifindex: u32) -> bool {
        self.left_out.get(&ifindex).is_some_and(|why| why.is_own())
    }

    fn no_workload(&mut self, ifindex: u32) -> Option<DeviceEvent> {
        self.known
            .remove(&ifindex)
            .map(|_| DeviceEvent::Removed(ifindex))
    }

    /// Whether the answer for a device would change if it were an interface of the node itself. Of a known workload device
    /// that is asked for at the next list only.
    pub(super) fn depends_on_role(&self, device: &Device) -> bool {
        let uplink = Device {
            is_uplink: true,
            ..device.clone()
        };
        !self.known.contains_key(&device.ifindex)
            && self.role(device) == Role::Workload
            && self.role(&uplink) != Role::Workload
    }

    /// The workload devices.
    pub(super) fn workload(&self) -> Vec<Device> {
        self.known.values().cloned().collect()
    }

    /// All devices were listed. Removals come first: a name may have passed to a new device.
    pub(super) fn listed(&mut self, devices: Vec<Device>) -> Vec<DeviceEvent> {
        let listed: BTreeSet<u32> = devices.iter().map(|device| device.ifindex).collect();
        self.left_out.retain(|ifindex, _| listed.contains(ifindex));
        let gone: Vec<u32> = self
            .known
            .keys()
            .filter(|ifindex| !listed.contains(ifindex))
            .copied()
            .collect();
        let mut events: Vec<_> = gone.into_iter().filter_map(|i| self.gone(i)).collect();
        let (mut removed, rest): (Vec<_>, Vec<_>) = devices
            .into_iter()
            .filter_map(|device| self.seen(device))
            .partition(|event| matches!(event, DeviceEvent::Removed(_)));
        events.append(&mut removed);
        events.extend(rest);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(ifindex: u32, name: &str) -> Device {
        Device {
            ifindex,
            name: name.into(),
            kind: "veth".into(),
            peer_is_elsewhere: true,
            is_loopback: false,
            is_ethernet: true,
            is_uplink: false,
            has_subnet: false,
        }
    }

    fn tracker() -> Tracker {
        Tracker::new(Selector::Peers)
    }

    #[test]
    fn a_device_is_added_once_however_often_it_is_reported() {
        let mut tracker = tracker();
        let a = device(3, "a");
        assert_eq!(tracker.seen(a.clone()), Some(DeviceEvent::Added(a.clone())));
        assert_eq!(tracker.seen(a), None);
    }

    #[test]
    fn a_new_name_of_a_known_device_is_a_rename() {
        let mut tracker = tracker();
        tracker.seen(device(3, "a"));
        let renamed = device(3, "b");
        assert_eq!(
            tracker.seen(renamed.clone()),
            Some(DeviceEvent::Renamed(renamed))
        );
    }

    #[test]
    fn a_device_whose_peer_comes_home_is_removed() {
        let mut tracker = tracker();
        tracker.seen(device(3, "a"));
        let home = Device {
            peer_is_elsewhere: false,
            ..device(3, "a")
        };
        assert_eq!(tracker.seen(home.clone()), Some(DeviceEvent::Removed(3)));
        assert_eq!(tracker.seen(home), None);
    }

    #[test]
    fn an_unknown_device_that_goes_is_no_event() {
        assert_eq!(tracker().gone(9), None);
    }

    #[test]
    fn a_list_makes_up_for_every_lost_report() {
        let mut tracker = tracker();
        for known in [
            device(3, "gone"),
            device(4, "old-name"),
            device(5, "uplink"),
            device(6, "same"),
        ] {
            tracker.seen(known);
        }
        let uplink = Device {
            is_uplink: true,
            ..device(5, "uplink")
        };
        let events = tracker.listed(vec![
            device(4, "new-name"),
            uplink,
            device(6, "same"),
            device(7, "gone"),
        ]);
        assert_eq!(
            events,
            [
                DeviceEvent::Removed(3),
                DeviceEvent::Removed(5),
                DeviceEvent::Renamed(device(4, "new-name")),
                DeviceEvent::Added(device(7, "gone")),
            ]
        );
    }

    #[test]
    fn an_interface_of_the_node_stays_one_until_it_is_gone() {
        let with_route = Device {
            is_uplink: true,
            ..device(3, "eth0")
        };
        let with_subnet = Device {
            has_subnet: true,
            ..device(3, "eth0")
        };
        for own in [with_route, with_subnet] {
            let mut tracker = tracker();
            assert_eq!(tracker.listed(vec![own]), []);
            let flapped = device(3, "eth0");
            assert_eq!(tracker.listed(vec![flapped.clone()]), []);
            assert!(!tracker.depends_on_role(&flapped));
            assert_eq!(tracker.seen(flapped.clone()), None);

            assert_eq!(tracker.gone(3), None);
            assert_eq!(
                tracker.seen(flapped.clone()),
                Some(DeviceEvent::Added(flapped)),
                "another device with the number"
            );
        }
    }

    #[test]
    fn what_is_left_out_is_told_once_while_it_exists() {
        let mut tracker = Tracker::new(Selector::from_patterns(["wg*"]).unwrap());
        let tunnel = Device {
            is_ethernet: false,
            ..device(3, "wg0")
        };
        for _ in 0..2 {
            assert_eq!(tracker.seen(tunnel.clone()), None);
            tracker.listed(vec![tunnel.clone()]);
            assert_eq!(
                tracker.newly_left_out(),
                [(tunnel.clone(), Exclusion::NoEthernet)]
            );
            tracker.seen(tunnel.clone());
            assert_eq!(tracker.newly_left_out(), []);
            tracker.listed(vec![]);
        }
    }
}
