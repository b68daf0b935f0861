//! Devices, default routes and addresses as the kernel reports them: which requests to send, how to read the answers.

use std::{collections::BTreeSet, io};

use nix::libc;

use super::Device;
use crate::netlink::{Attributes, Message, Received, Socket};

/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// Length of `struct rtmsg`.
const RTMSG: usize = 12;
const IFLA_NEW_NETNSID: u16 = 45;
/// Length of `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;
/// ARPHRD_ETHER of `include/uapi/linux/if_arp.h`.
const ETHERNET: u16 = 1;
const RTA_MULTIPATH: u16 = 9;
/// Length of `struct rtnexthop`; the ifindex is at offset 4.
const RTNEXTHOP: usize = 8;

/// What a notification says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// A device as it is now; whether it is an interface of the node itself is not part of the report.
    Device(Device),
    /// A device that is gone from this namespace.
    Gone(u32),
    /// Something on which the role of other devices depends: a default route, an address in a subnet, or a device that went
    /// to another namespace.
    ListAgain,
}

/// All devices of the namespace.
pub(super) fn devices(socket: &Socket) -> io::Result<Vec<Device>> {
    let own = Own::list(socket)?;
    let devices = socket.dump(
        || {
            Message::new(
                libc::RTM_GETLINK,
                libc::NLM_F_REQUEST | libc::NLM_F_DUMP,
                &[0; IFINFOMSG],
            )
        },
        |answer| read_device(&answer),
    )?;
    Ok(devices.into_iter().map(|device| own.mark(device)).collect())
}

/// What tells the interfaces of the node itself from others.
#[derive(Debug)]
pub(super) struct Own {
    uplinks: BTreeSet<u32>,
    with_subnet: BTreeSet<u32>,
}

impl Own {
    pub(super) fn list(socket: &Socket) -> io::Result<Self> {
        Ok(Self {
            uplinks: uplinks(socket)?,
            with_subnet: with_subnet(socket)?,
        })
    }

    pub(super) fn mark(&self, device: Device) -> Device {
        Device {
            is_uplink: self.uplinks.contains(&device.ifindex),
            has_subnet: self.with_subnet.contains(&device.ifindex),
            ..device
        }
    }
}

/// The devices that a default route of any table leads out of.
fn uplinks(socket: &Socket) -> io::Result<BTreeSet<u32>> {
    let devices = socket.dump(
        || {
            Message::new(
                libc::RTM_GETROUTE,
                libc::NLM_F_REQUEST | libc::NLM_F_DUMP,
                &[0; RTMSG],
            )
        },
        |answer| is_default_route(&answer).then(|| route_devices(&answer)),
    )?;
    Ok(devices.into_iter().flatten().collect())
}

/// The devices that have an address in a subnet.
fn with_subnet(socket: &Socket) -> io::Result<BTreeSet<u32>> {
    let devices = socket.dump(
        || {
            Message::new(
                libc::RTM_GETADDR,
                libc::NLM_F_REQUEST | libc::NLM_F_DUMP,
                &[0; IFADDRMSG],
            )
        },
        |answer| is_in_subnet(&answer).then(|| answer.u32(4)).flatten(),
    )?;
    Ok(devices.into_iter().collect())
}

/// What a notification says, none if nothing that matters.
pub(super) fn read(message: &Received<'_>) -> Option<Report> {
    match message.kind {
        libc::RTM_NEWLINK => read_device(message).map(Report::Device),
        libc::RTM_DELLINK => {
            let gone = read_device(message)?;
            // The other end of a pair that moves away gets no report of its own until its carrier changes.
            let moved = message.attributes(IFINFOMSG).find(IFLA_NEW_NETNSID);
            Some(match moved {
                Some(_) => Report::ListAgain,
                None => Report::Gone(gone.ifindex),
            })
        }
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            is_default_route(message).then_some(Report::ListAgain)
        }
        libc::RTM_NEWADDR | libc::RTM_DELADDR => is_in_subnet(message).then_some(Report::ListAgain),
        _ => None,
    }
}

fn read_device(message: &Received<'_>) -> Option<Device> {
    // A bridge reports its ports by the same messages with another family, RTM_DELLINK among them: the port leaves the
    // bridge, the device stays (br_ifinfo_notify in net/bridge/br_netlink.c).
    if message.u8(0)? != libc::AF_UNSPEC as u8 {
        return None;
    }
    let attributes = message.attributes(IFINFOMSG);
    let kind = attributes
        .find(libc::IFLA_LINKINFO)
        .and_then(|info| Attributes::inside(info).find_text(libc::IFLA_INFO_KIND));
    Some(Device {
        ifindex: message.u32(4)?,
        name: attributes.find_text(libc::IFLA_IFNAME)?,
        kind: kind.unwrap_or_default(),
        peer_is_elsewhere: attributes.find(libc::IFLA_LINK_NETNSID).is_some(),
        is_loopback: message.u32(8)? & libc::IFF_LOOPBACK as u32 != 0,
        is_ethernet: message.u16(2)? == ETHERNET,
        is_uplink: false,
        has_subnet: false,
    })
}

fn is_default_route(message: &Received<'_>) -> bool {
    let (destination_length, route_type) = (message.u8(1), message.u8(7));
    destination_length == Some(0) && route_type == Some(libc::RTN_UNICAST)
}

/// Whether an address has neighbours of its own: neither one of two ends or alone, nor link-local.
fn is_in_subnet(message: &Received<'_>) -> bool {
    let (family, prefix, scope) = (message.u8(0), message.u8(1), message.u8(3));
    let longest_subnet = match family.map(i32::from) {
        Some(libc::AF_INET) => 30,
        Some(libc::AF_INET6) => 126,
        _ => return false,
    };
    // An IPv4 address is link-local by its number; its scope is whatever the one who added it said.
    let address = message.attributes(IFADDRMSG).find(libc::IFA_ADDRESS);
    let is_link_local = matches!(address, Some([169, 254, _, _]));
    scope == Some(libc::RT_SCOPE_UNIVERSE)
        && prefix.is_some_and(|prefix| prefix <= longest_subnet)
        && !is_link_local
}

fn route_devices(message: &Received<'_>) -> Vec<u32> {
    let attributes = message.attributes(RTMSG);
    let mut devices: Vec<u32> = attributes.find_u32(libc::RTA_OIF).into_iter().collect();
    let mut hops = attributes.find(RTA_MULTIPATH).unwrap_or_default();
    while hops.len() >= RTNEXTHOP {
        let length = usize::from(u16::from_ne_bytes([hops[0], hops[1]]));
        devices.push(u32::from_ne_bytes([hops[4], hops[5], hops[6], hops[7]]));
        hops = hops
            .get(length.max(RTNEXTHOP).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: u16, family: u8, extra: impl FnOnce(Message) -> Message) -> Vec<u8> {
        let mut fixed = [0; IFINFOMSG];
        fixed[0] = family;
        fixed[2..4].copy_from_slice(&ETHERNET.to_ne_bytes());
        fixed[4..8].copy_from_slice(&42u32.to_ne_bytes());
        extra(
            Message::new(kind, 0, &fixed)
                .attribute(libc::IFLA_IFNAME, b"veth42\0")
                .nested(libc::IFLA_LINKINFO, |m| {
                    m.attribute(libc::IFLA_INFO_KIND, b"veth\0")
                }),
        )
        .finish(0)
    }

    fn report(bytes: &[u8]) -> Option<Report> {
        read(&Received::split_first(bytes).unwrap().0)
    }

    #[test]
    fn a_reported_device_is_read_with_all_that_matters() {
        let bytes = link(libc::RTM_NEWLINK, 0, |m| {
            m.attribute(libc::IFLA_LINK_NETNSID, &0u32.to_ne_bytes())
        });
        let expected = Device {
            ifindex: 42,
            name: "veth42".into(),
            kind: "veth".into(),
            peer_is_elsewhere: true,
            is_loopback: false,
            is_ethernet: true,
            is_uplink: false,
            has_subnet: false,
        };
        assert_eq!(report(&bytes), Some(Report::Device(expected)));
    }

    #[test]
    fn a_deleted_device_is_gone() {
        assert_eq!(
            report(&link(libc::RTM_DELLINK, 0, |m| m)),
            Some(Report::Gone(42))
        );
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_gone() {
        let bridge_family = libc::AF_BRIDGE as u8;
        assert_eq!(report(&link(libc::RTM_DELLINK, bridge_family, |m| m)), None);
        assert_eq!(report(&link(libc::RTM_NEWLINK, bridge_family, |m| m)), None);
    }

    #[test]
    fn a_device_that_moves_away_changes_the_role_of_its_peer() {
        let bytes = link(libc::RTM_DELLINK, 0, |m| {
            m.attribute(IFLA_NEW_NETNSID, &1u32.to_ne_bytes())
        });
        assert_eq!(report(&bytes), Some(Report::ListAgain));
    }

    fn route(destination_length: u8, extra: impl FnOnce(Message) -> Message) -> Vec<u8> {
        let mut fixed = [0; RTMSG];
        fixed[0] = libc::AF_INET as u8;
        fixed[1] = destination_length;
        fixed[7] = libc::RTN_UNICAST;
        extra(Message::new(libc::RTM_NEWROUTE, 0, &fixed)).finish(0)
    }

    #[test]
    fn only_a_default_route_matters() {
        assert_eq!(report(&route(0, |m| m)), Some(Report::ListAgain));
        assert_eq!(report(&route(24, |m| m)), None);
    }

    #[test]
    fn only_an_address_in_a_subnet_makes_an_interface_of_the_node() {
        let check = |family: i32, prefix: u8, scope: u8, address: &[u8], expected: bool| {
            let mut fixed = [family as u8, prefix, 0, scope, 0, 0, 0, 0];
            fixed[4..8].copy_from_slice(&42u32.to_ne_bytes());
            for kind in [libc::RTM_NEWADDR, libc::RTM_DELADDR] {
                let bytes = Message::new(kind, 0, &fixed)
                    .attribute(libc::IFA_ADDRESS, address)
                    .finish(0);
                let expected = expected.then_some(Report::ListAgain);
                assert_eq!(report(&bytes), expected, "{address:?}/{prefix}");
            }
        };
        let (v4, v6) = (libc::AF_INET, libc::AF_INET6);
        let (global, link) = (libc::RT_SCOPE_UNIVERSE, libc::RT_SCOPE_LINK);
        let unique_local = [0xfd, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let link_local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        check(v4, 24, global, &[192, 0, 2, 2], true);
        check(v4, 30, global, &[192, 0, 2, 2], true);
        check(v4, 31, global, &[192, 0, 2, 2], false);
        check(v4, 32, global, &[10, 244, 1, 1], false);
        check(v4, 16, global, &[169, 254, 1, 1], false);
        check(v4, 24, link, &[192, 0, 2, 2], false);
        check(v6, 64, global, &unique_local, true);
        check(v6, 126, global, &unique_local, true);
        check(v6, 127, global, &unique_local, false);
        check(v6, 64, link, &link_local, false);
        check(libc::AF_BRIDGE, 24, global, &[192, 0, 2, 2], false);
    }

    #[test]
    fn a_default_route_over_several_devices_names_them_all() {
        let mut hops = Vec::new();
        for ifindex in [5u32, 6] {
            hops.extend_from_slice(&16u16.to_ne_bytes());
            hops.extend_from_slice(&[0, 0]);
            hops.extend_from_slice(&ifindex.to_ne_bytes());
            hops.extend_from_slice(&[8, 0, 5, 0, 10, 0, 0, 1]);
        }
        let bytes = route(0, |m| m.attribute(RTA_MULTIPATH, &hops));
        assert_eq!(
            route_devices(&Received::split_first(&bytes).unwrap().0),
            [5, 6]
        );
        let bytes = route(0, |m| m.attribute(libc::RTA_OIF, &7u32.to_ne_bytes()));
        assert_eq!(
            route_devices(&Received::split_first(&bytes).unwrap().0),
            [7]
        );
    }
}
