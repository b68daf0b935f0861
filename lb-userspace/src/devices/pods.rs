//! Which pods of this node packets can be handed to straight into their devices: those to which the node's own stack would send
//! a packet by that very device.
//!
//! The stack's answer is put together from what it would ask, and holds for every CNI alike: its route to the address leads,
//! without a gateway, out of a pod's device (ptp, Calico) or of a bridge, its neighbour table knows the Ethernet address,
//! and the bridge knows behind which port that is. An address for which one of these is missing has no answer: the stack
//! finds it out with the next packet. Pure: what the kernel reports goes in ([`super::neighbourhood`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use lb_common::redirect::LocalPod;

use super::remote::NextHop;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// A device, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Whether it is a bridge.
    pub is_bridge: bool,
    /// Whether it is one end of a pair whose other end, in another network namespace, can be handed a packet.
    pub is_pair: bool,
    /// Whether nothing waits on its way out: a queueing discipline there shapes what a pod receives.
    pub is_unshaped: bool,
    /// Whether it is of a kind by which nodes reach each other without a tunnel.
    pub is_uplink: bool,
}

/// A route of the main table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Where it leads to.
    pub prefix: Prefix,
    /// Of two routes to the same prefix, the lower one counts.
    pub metric: u32,
    /// The device, where it leads out of one without a gateway.
    pub device: Option<u32>,
    /// The device and the gateway, where it leads by one.
    pub next_hop: Option<NextHop>,
}

/// An address of which so many bits count; the others are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// How many bits count.
    pub bits: u8,
}

/// An entry of a neighbour table, in a state in which the stack uses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Neighbour {
    /// The device that it is on.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// The Ethernet address.
    pub mac: Mac,
}

/// What a bridge knows of an Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Port {
    /// The bridge.
    pub bridge: u32,
    /// The Ethernet address.
    pub mac: Mac,
    /// The device behind which it is.
    pub ifindex: u32,
}

/// What the node's stack knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Neighbourhood {
    /// The devices, by ifindex.
    pub links: BTreeMap<u32, Link>,
    /// The routes of the main table.
    pub routes: Vec<Route>,
    /// Where the table of the node's own addresses leads to, which is asked before the main table.
    pub own: BTreeSet<Prefix>,
    /// The neighbours.
    pub neighbours: BTreeSet<Neighbour>,
    /// The bridges' tables.
    pub ports: BTreeSet<Port>,
}

/// The pods behind the devices in `eligible`, by address.
pub fn local_pods(known: &Neighbourhood, eligible: &BTreeSet<u32>) -> BTreeMap<IpAddr, LocalPod> {
    let routes = known.routes.iter();
    let routes = Routes::of(routes.map(|route| (route.prefix, route.metric, route.device)));
    let mut ports: BTreeMap<(u32, Mac), Option<u32>> = BTreeMap::new();
    for port in &known.ports {
        // Behind two ports, in two VLANs maybe: no answer.
        ports
            .entry((port.bridge, port.mac))
            .and_modify(|known| *known = known.filter(|ifindex| *ifindex == port.ifindex))
            .or_insert(Some(port.ifindex));
    }
    let mut pods = BTreeMap::new();
    for neighbour in &known.neighbours {
        let Some(on) = known.links.get(&neighbour.ifindex) else {
            continue;
        };
        if !is_of_a_pod(&neighbour.address)
            || routes.towards(neighbour.address) != Some(neighbour.ifindex)
        {
            continue;
        }
        let ifindex = if on.is_bridge {
            ports
                .get(&(neighbour.ifindex, neighbour.mac))
                .copied()
                .flatten()
        } else {
            Some(neighbour.ifindex)
        };
        let link = |ifindex: &u32| known.links.get(ifindex);
        let usable = |ifindex: &u32| {
            eligible.contains(ifindex)
                && link(ifindex).is_some_and(|link| link.is_pair && link.is_unshaped)
        };
        if let Some(ifindex) = ifindex.filter(usable) {
            pods.insert(
                neighbour.address,
                LocalPod::new(ifindex, neighbour.mac, on.mac),
            );
        }
    }
    pods
}

/// Link-local addresses exist on each device anew; none of them is one pod's alone.
fn is_of_a_pod(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            !(ip.is_link_local() || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified())
        }
        IpAddr::V6(ip) => {
            !(ip.is_unicast_link_local()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_unspecified())
        }
    }
}

/// Routes by prefix: where the best one leads to.
pub(super) struct Routes<T>(BTreeMap<Prefix, (u32, Option<T>)>);

impl<T: Copy + PartialEq> Routes<T> {
    /// Of routes by prefix and metric; nothing where it can't be told.
    pub(super) fn of(routes: impl Iterator<Item = (Prefix, u32, Option<T>)>) -> Self {
        let mut best: BTreeMap<Prefix, (u32, Option<T>)> = BTreeMap::new();
        for (prefix, metric, leads_to) in routes {
            let new = (metric, leads_to);
            best.entry(prefix)
                .and_modify(|known| {
                    if new.0 < known.0 {
                        *known = new;
                    } else if new.0 == known.0 && new.1 != known.1 {
                        // Two of equal worth: which one it is nobody can tell.
                        known.1 = None;
                    }
                })
                .or_insert(new);
        }
        Self(best)
    }

    fn towards(&self, address: IpAddr) -> Option<T> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let (_, leads_to) = Prefix::of(address, longest)
            .and_shorter()
            .find_map(|prefix| self.0.get(&prefix))?;
        *leads_to
    }

    /// All prefixes, and where they lead to.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, Option<T>)> {
        self.0.iter().map(|(prefix, (_, to))| (*prefix, *to))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Prefix {
    /// The prefix of an address.
    pub fn of(address: IpAddr, bits: u8) -> Self {
        let address = match address {
            IpAddr::V4(ip) => {
                let rest = 32 - u32::from(bits.min(32));
                let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
                IpAddr::from((ip.to_bits() & mask).to_be_bytes())
            }
            IpAddr::V6(ip) => {
                let rest = 128 - u32::from(bits.min(128));
                let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
                IpAddr::from((ip.to_bits() & mask).to_be_bytes())
            }
        };
        Self { address, bits }
    }

    /// This one, then all that it lies in.
    pub(super) fn and_shorter(self) -> impl Iterator<Item = Self> {
        (0..=self.bits)
            .rev()
            .map(move |bits| Self::of(self.address, bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VETH: u32 = 5;
    const OTHER_VETH: u32 = 6;
    const BRIDGE: u32 = 7;
    const UPLINK: u32 = 2;
    const POD: Mac = [2, 0, 0, 0, 0, 1];

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn route(prefix: &str, bits: u8, device: Option<u32>) -> Route {
        Route {
            prefix: Prefix::of(ip(prefix), bits),
            metric: 0,
            device,
            next_hop: None,
        }
    }

    fn link(ifindex: u32, is_bridge: bool, is_pair: bool) -> (u32, Link) {
        let link = Link {
            mac: [0xee, 0, 0, 0, 0, ifindex as u8],
            is_bridge,
            is_pair,
            is_unshaped: true,
            is_uplink: false,
        };
        (ifindex, link)
    }

    /// Two veths, a bridge and an uplink; a default route; the pod's addresses are neighbours on `on`.
    fn node(on: u32, routes: &[Route]) -> Neighbourhood {
        let mut known = Neighbourhood {
            links: [
                link(UPLINK, false, false),
                link(VETH, false, true),
                link(OTHER_VETH, false, true),
                link(BRIDGE, true, false),
            ]
            .into(),
            routes: vec![route("0.0.0.0", 0, None), route("::", 0, None)],
            ..Neighbourhood::default()
        };
        known.routes.extend_from_slice(routes);
        for address in ["10.244.1.5", "fd00::5", "fe80::5", "169.254.1.5"] {
            known.neighbours.insert(Neighbour {
                ifindex: on,
                address: ip(address),
                mac: POD,
            });
        }
        known
    }

    fn routed() -> Neighbourhood {
        let to_pod = [
            route("10.244.1.5", 32, Some(VETH)),
            route("fd00::5", 128, Some(VETH)),
            route("fe80::", 64, Some(VETH)),
        ];
        node(VETH, &to_pod)
    }

    fn bridged() -> Neighbourhood {
        let to_bridge = [
            route("10.244.1.0", 24, Some(BRIDGE)),
            route("fd00::", 64, Some(BRIDGE)),
        ];
        let mut known = node(BRIDGE, &to_bridge);
        known.ports.insert(Port {
            bridge: BRIDGE,
            mac: POD,
            ifindex: VETH,
        });
        known
    }

    #[track_caller]
    fn check(known: &Neighbourhood, expected: Option<(u32, u32)>) {
        let eligible = [VETH, OTHER_VETH].into();
        let pods = local_pods(known, &eligible);
        let expected: BTreeMap<_, _> = expected
            .into_iter()
            .flat_map(|(ifindex, from)| {
                let pod = LocalPod::new(ifindex, POD, known.links[&from].mac);
                [(ip("10.244.1.5"), pod), (ip("fd00::5"), pod)]
            })
            .collect();
        assert_eq!(pods, expected);
    }

    #[test]
    fn a_routed_pod_is_behind_the_device_that_its_route_leads_out_of() {
        check(&routed(), Some((VETH, VETH)));
    }

    #[test]
    fn a_bridged_pod_is_behind_the_port_that_the_bridge_has_learnt() {
        check(&bridged(), Some((VETH, BRIDGE)));
    }

    #[test]
    fn a_pod_whose_ethernet_address_is_unknown_is_left_to_the_stack() {
        let mut known = routed();
        known.neighbours.clear();
        check(&known, None);
        let mut known = bridged();
        known.ports.clear();
        check(&known, None);
    }

    #[test]
    fn an_ethernet_address_behind_two_ports_is_left_to_the_stack() {
        let mut known = bridged();
        known.ports.insert(Port {
            bridge: BRIDGE,
            mac: POD,
            ifindex: OTHER_VETH,
        });
        check(&known, None);
    }

    #[test]
    fn the_longest_prefix_decides_and_then_the_metric() {
        // The pod has moved to another node, and what is left of it here is stale.
        let mut moved = bridged();
        moved.routes.push(route("10.244.1.5", 32, None));
        moved.routes.push(route("fd00::5", 128, None));
        check(&moved, None);

        let mut twice = routed();
        for (address, bits) in [("10.244.1.5", 32), ("fd00::5", 128)] {
            let worse = Route {
                metric: 9,
                ..route(address, bits, Some(OTHER_VETH))
            };
            twice.routes.push(worse);
        }
        check(&twice, Some((VETH, VETH)));
        for route in &mut twice.routes {
            route.metric = 0;
        }
        check(&twice, None);
    }

    #[test]
    fn a_neighbour_on_another_device_than_the_routes_is_none() {
        let mut known = routed();
        known.neighbours = node(OTHER_VETH, &[]).neighbours;
        check(&known, None);
    }

    #[test]
    fn a_device_that_shapes_or_is_no_pair_or_not_eligible_takes_nothing() {
        for change in [
            |link: &mut Link| link.is_unshaped = false,
            |link: &mut Link| link.is_pair = false,
        ] {
            let mut known = routed();
            change(known.links.get_mut(&VETH).unwrap());
            check(&known, None);
        }
        assert_eq!(local_pods(&routed(), &[OTHER_VETH].into()), BTreeMap::new());
    }

    #[test]
    fn a_prefix_keeps_its_bits_and_no_more() {
        for (address, bits, expected) in [
            ("10.244.1.5", 0, "0.0.0.0"),
            ("10.244.1.5", 24, "10.244.1.0"),
            ("10.244.1.5", 32, "10.244.1.5"),
            ("fd00::1:5", 0, "::"),
            ("fd00::1:5", 112, "fd00::1:0"),
            ("fd00::1:5", 128, "fd00::1:5"),
        ] {
            assert_eq!(Prefix::of(ip(address), bits).address, ip(expected));
        }
    }
}
