//! What is known of the workload devices, and what changes with each report. Pure: no socket, no clock.

use std::collections::BTreeMap;

use super::{Device, Selector, is_workload};

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
}

impl Tracker {
    pub(super) fn new(selector: Selector) -> Self {
        Self {
            selector,
            known: BTreeMap::new(),
        }
    }

    /// A device was reported as it is now.
    pub(super) fn seen(&mut self, device: Device) -> Option<DeviceEvent> {
        if !is_workload(&device, &self.selector) {
            return self.gone(device.ifindex);
        }
        match self.known.insert(device.ifindex, device.clone()) {
            None => Some(DeviceEvent::Added(device)),
            Some(before) if before.name != device.name => Some(DeviceEvent::Renamed(device)),
            Some(_) => None,
        }
    }

    /// A device was reported gone.
    pub(super) fn gone(&mut self, ifindex: u32) -> Option<DeviceEvent> {
        self.known
            .remove(&ifindex)
            .map(|_| DeviceEvent::Removed(ifindex))
    }

    /// Whether the answer for a device would change if it were an uplink. Of a known workload device that is asked for at
    /// the next list only.
    pub(super) fn depends_on_role(&self, device: &Device) -> bool {
        let uplink = Device {
            is_uplink: true,
            ..device.clone()
        };
        !self.known.contains_key(&device.ifindex)
            && is_workload(device, &self.selector)
            && !is_workload(&uplink, &self.selector)
    }

    /// The workload devices.
    pub(super) fn workload(&self) -> Vec<Device> {
        self.known.values().cloned().collect()
    }

    /// All devices were listed. Removals come first: a name may have passed to a new device.
    pub(super) fn listed(&mut self, devices: Vec<Device>) -> Vec<DeviceEvent> {
        let gone: Vec<u32> = self
            .known
            .keys()
            .filter(|ifindex| !devices.iter().any(|d| d.ifindex == **ifindex))
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
            is_uplink: false,
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
}
