//! The ways to the pods of other nodes, for packets that go past the host's stack: those that the node's own stack would take,
//! by its routes.
//!
//! A way is a route of the main table that leads by one gateway out of an uplink; the default route is none, for beyond it is
//! the outside. What no such route is responsible for, the stack alone knows: tunnels, several ways, an MTU of its own, the
//! node's own addresses. So it does for a gateway that it has not found: it tells senders. Pure: what the kernel reports goes in
//! ([`super::neighbourhood`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::pods::{Neighbourhood, Prefix, Routes};

/// A way: out of a device, by a gateway behind it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NextHop {
    /// The device.
    pub ifindex: u32,
    /// The gateway, of the family of those whom it leads to.
    pub gateway: IpAddr,
}

/// The ways by prefix, none for a prefix that is left out of a shorter one. No way leads out of the devices in `of_pods`.
pub fn remote_pods(
    known: &Neighbourhood,
    of_pods: &BTreeSet<u32>,
) -> BTreeMap<Prefix, Option<NextHop>> {
    let routes = known.routes.iter();
    let routes = Routes::of(routes.map(|route| (route.prefix, route.metric, route.next_hop)));
    let found: BTreeSet<NextHop> = known
        .neighbours
        .iter()
        .map(|neighbour| NextHop {
            ifindex: neighbour.ifindex,
            gateway: neighbour.address,
        })
        .collect();
    let is_usable = |prefix: &Prefix, way: &NextHop| {
        let link = known.links.get(&way.ifindex);
        prefix.bits > 0
            && way.gateway.is_ipv4() == prefix.address.is_ipv4()
            && link.is_some_and(|link| link.is_uplink)
            && !of_pods.contains(&way.ifindex)
            && found.contains(way)
            // The table of the node's own addresses is asked first.
            && !prefix.and_shorter().any(|prefix| known.own.contains(&prefix))
    };
    let mut ways: BTreeMap<Prefix, Option<NextHop>> = routes
        .iter()
        .filter_map(|(prefix, way)| Some((prefix, way.filter(|way| is_usable(&prefix, way))?)))
        .map(|(prefix, way)| (prefix, Some(way)))
        .collect();
    let others: Vec<Prefix> = routes
        .iter()
        .map(|(prefix, _)| prefix)
        .chain(known.own.iter().copied())
        .filter(|prefix| !ways.contains_key(prefix))
        .filter(|prefix| {
            prefix
                .and_shorter()
                .any(|prefix| ways.contains_key(&prefix))
        })
        .collect();
    ways.extend(others.into_iter().map(|prefix| (prefix, None)));
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::pods::{Link, Neighbour, Route};

    const UPLINK: u32 = 2;
    const TUNNEL: u32 = 3;
    const VETH: u32 = 5;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn prefix(text: &str) -> Prefix {
        let (address, bits) = text.split_once('/').unwrap();
        Prefix::of(ip(address), bits.parse().unwrap())
    }

    fn by(gateway: &str, ifindex: u32) -> Option<NextHop> {
        Some(NextHop {
            ifindex,
            gateway: ip(gateway),
        })
    }

    fn route(to: &str, next_hop: Option<NextHop>) -> Route {
        Route {
            prefix: prefix(to),
            metric: 0,
            device: None,
            next_hop,
        }
    }

    /// An uplink, a tunnel, a pod's device; all gateways are known, and all routes are by them.
    fn node(routes: &[Route]) -> Neighbourhood {
        let link = |is_uplink| Link {
            mac: [2; 6],
            is_bridge: false,
            is_pair: false,
            is_unshaped: true,
            is_uplink,
        };
        let hops = routes.iter().filter_map(|route| route.next_hop);
        Neighbourhood {
            links: [
                (UPLINK, link(true)),
                (TUNNEL, link(false)),
                (VETH, link(true)),
            ]
            .into(),
            neighbours: hops
                .map(|hop| Neighbour {
                    ifindex: hop.ifindex,
                    address: hop.gateway,
                    mac: [4; 6],
                })
                .collect(),
            routes: routes.to_vec(),
            ..Neighbourhood::default()
        }
    }

    #[track_caller]
    fn check(known: &Neighbourhood, expected: &[(&str, Option<NextHop>)]) {
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|(to, way)| (prefix(to), *way))
            .collect();
        assert_eq!(remote_pods(known, &[VETH].into()), expected);
    }

    #[test]
    fn routes_by_a_gateway_out_of_an_uplink_are_ways_and_the_default_route_is_none() {
        let [v4, v6] = [by("192.168.50.2", UPLINK), by("fd00:50::2", UPLINK)];
        let routes = [
            route("0.0.0.0/0", by("192.168.50.254", UPLINK)),
            route("::/0", by("fd00:50::fe", UPLINK)),
            route("192.168.50.0/24", None),
            route("10.244.2.0/24", v4),
            route("fd00:10:244:2::/64", v6),
        ];
        let ways = [("10.244.2.0/24", v4), ("fd00:10:244:2::/64", v6)];
        check(&node(&routes), &ways);
    }

    #[test]
    fn tunnels_pods_that_route_and_gateways_of_the_other_family_are_left_to_the_stack() {
        let routes = [
            route("10.244.2.0/24", by("10.244.2.0", TUNNEL)),
            route("10.244.3.0/24", by("10.244.1.9", VETH)),
            route("10.244.4.0/24", by("fe80::4", UPLINK)),
        ];
        check(&node(&routes), &[]);
    }

    #[test]
    fn a_gateway_that_is_not_found_is_left_to_the_stack() {
        let mut known = node(&[route("10.244.2.0/24", by("192.168.50.2", UPLINK))]);
        known.neighbours.clear();
        check(&known, &[]);
    }

    #[test]
    fn what_lies_in_a_prefix_and_has_another_way_is_left_out_of_it() {
        let all = by("192.168.50.9", UPLINK);
        let one = by("192.168.50.2", UPLINK);
        let mut known = node(&[
            route("10.244.0.0/16", all),
            route("10.244.2.0/24", one),
            route("10.244.1.0/24", None),
            route("10.244.3.0/24", by("10.244.3.0", TUNNEL)),
            route("10.9.0.0/16", None),
        ]);
        known.own.insert(prefix("10.244.7.7/32"));
        known.own.insert(prefix("127.0.0.0/8"));
        let ways = [
            ("10.244.0.0/16", all),
            ("10.244.2.0/24", one),
            ("10.244.1.0/24", None),
            ("10.244.3.0/24", None),
            ("10.244.7.7/32", None),
        ];
        check(&known, &ways);
    }

    #[test]
    fn the_nodes_own_addresses_are_asked_first() {
        let mut known = node(&[route("10.244.2.0/24", by("192.168.50.2", UPLINK))]);
        known.own.insert(prefix("10.244.0.0/16"));
        check(&known, &[]);
    }

    #[test]
    fn of_two_routes_the_better_one_counts_and_of_equal_ones_none() {
        let (good, other) = (by("192.168.50.2", UPLINK), by("192.168.50.3", UPLINK));
        let worse = Route {
            metric: 9,
            ..route("10.244.2.0/24", other)
        };
        let better = route("10.244.2.0/24", good);
        check(&node(&[worse, better]), &[("10.244.2.0/24", good)]);
        check(&node(&[route("10.244.2.0/24", other), better]), &[]);
    }
}
