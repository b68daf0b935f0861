//! What the node's stack knows of its pods, as the kernel reports it: devices, routes, neighbours, bridges' tables; and the rules
//! of policy routing, in which it asks for them.

use std::{collections::BTreeSet, io, net::IpAddr};

use nix::libc;

use super::pods::{Link, Mac, Neighbour, Neighbourhood, Port, Prefix, Route};
use super::remote::NextHop;
use crate::netlink::{Attributes, Message, Received, Socket};

/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// Length of `struct rtmsg`.
const RTMSG: usize = 12;
/// Length of `struct ndmsg`.
const NDMSG: usize = 12;
/// Length of `struct fib_rule_hdr`.
const RULE: usize = 12;
const RTA_TABLE: u16 = 15;
const RTA_NH_ID: u16 = 30;
const RTA_ENCAP: u16 = 22;
const RTAX_MTU: u16 = 2;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_MASTER: u16 = 9;
/// NUD_REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT: the stack sends to such a neighbour.
const USED: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;
/// A route that is a copy of another for one destination (RTM_F_CLONED).
const CLONED: u32 = 0x200;
/// The next hop of a route is not used (RTNH_F_DEAD, RTNH_F_LINKDOWN).
const DEAD: u32 = 1;
const LINKDOWN: u32 = 16;
/// Kinds of devices by which nodes reach each other; that of one that is no virtual device has no name.
const UPLINKS: [&str; 5] = ["", "veth", "bond", "team", "vlan"];
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;

/// What the kernel knows now.
pub(crate) fn list(socket: &Socket) -> io::Result<Neighbourhood> {
    let links = dump(socket, libc::RTM_GETLINK, &[0; IFINFOMSG], link)?;
    let (mut routes, mut own) = (Vec::new(), BTreeSet::new());
    for listed in dump(socket, libc::RTM_GETROUTE, &[0; RTMSG], route)? {
        match listed {
            Listed::Main(route) => routes.push(route),
            Listed::Own(prefix) => drop(own.insert(prefix)),
        }
    }
    let neighbours = dump(socket, libc::RTM_GETNEIGH, &[0; NDMSG], |m| {
        neighbour(m).used()
    })?;
    let mut of_bridges = [0; NDMSG];
    of_bridges[0] = libc::AF_BRIDGE as u8;
    let ports = dump(socket, libc::RTM_GETNEIGH, &of_bridges, port)?;
    Ok(Neighbourhood {
        links: links.into_iter().collect(),
        routes,
        own,
        neighbours: neighbours.into_iter().collect(),
        ports: ports.into_iter().collect(),
    })
}

/// Whether there are rules of policy routing beside the three that every namespace begins with, in words.
pub(crate) fn routing_rules(socket: &Socket) -> io::Result<Vec<String>> {
    dump(socket, libc::RTM_GETRULE, &[0; RULE], unusual_rule)
}

/// Whether a notification can change what is listed. Neighbours are confirmed all the time, which changes nothing.
pub(crate) fn is_news(message: &Received<'_>, known: &Neighbourhood) -> bool {
    match message.kind {
        libc::RTM_NEWNEIGH if message.u8(0) == Some(libc::AF_BRIDGE as u8) => {
            port(message).is_none_or(|port| !known.ports.contains(&port))
        }
        libc::RTM_NEWNEIGH => match neighbour(message) {
            Entry::Used(neighbour) => !known.neighbours.contains(&neighbour),
            Entry::Unused(ifindex, address) => known
                .neighbours
                .iter()
                .any(|known| known.ifindex == ifindex && known.address == address),
            Entry::Other => false,
        },
        _ => true,
    }
}

fn dump<T>(
    socket: &Socket,
    kind: u16,
    fixed: &[u8],
    read: impl Fn(&Received<'_>) -> Option<T>,
) -> io::Result<Vec<T>> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    socket.dump(|| Message::new(kind, flags, fixed), |answer| read(&answer))
}

fn link(message: &Received<'_>) -> Option<(u32, Link)> {
    if message.kind != libc::RTM_NEWLINK || message.u8(0)? != libc::AF_UNSPEC as u8 {
        return None;
    }
    let attributes = message.attributes(IFINFOMSG);
    let kind = attributes
        .find(libc::IFLA_LINKINFO)
        .and_then(|info| Attributes::inside(info).find_text(libc::IFLA_INFO_KIND))
        .unwrap_or_default();
    let qdisc = attributes.find_text(libc::IFLA_QDISC);
    let link = Link {
        mac: mac(attributes, libc::IFLA_ADDRESS)?,
        is_bridge: kind == "bridge",
        is_pair: matches!(kind.as_str(), "veth" | "netkit")
            && attributes.find(libc::IFLA_LINK_NETNSID).is_some(),
        is_unshaped: qdisc.as_deref() == Some("noqueue"),
        is_uplink: UPLINKS.contains(&kind.as_str()),
    };
    Some((message.u32(4)?, link))
}

/// A route of one of the two tables that count.
#[derive(PartialEq, Eq, Debug)]
enum Listed {
    /// The main table.
    Main(Route),
    /// That of the node's own addresses.
    Own(Prefix),
}

fn route(message: &Received<'_>) -> Option<Listed> {
    let attributes = message.attributes(RTMSG);
    let table = attributes
        .find_u32(RTA_TABLE)
        .or(message.u8(4).map(u32::from))?;
    let flags = message.u32(8)?;
    if message.kind != libc::RTM_NEWROUTE || flags & CLONED != 0 {
        return None;
    }
    let bits = message.u8(1)?;
    let address = match address(attributes, libc::RTA_DST) {
        Some(address) => address,
        None if i32::from(message.u8(0)?) == libc::AF_INET => IpAddr::from([0; 4]),
        None if i32::from(message.u8(0)?) == libc::AF_INET6 => IpAddr::from([0; 16]),
        None => return None,
    };
    let prefix = Prefix::of(address, bits);
    if table == u32::from(libc::RT_TABLE_LOCAL) {
        return Some(Listed::Own(prefix));
    }
    if table != u32::from(libc::RT_TABLE_MAIN) || message.u8(7)? == libc::RTN_MULTICAST {
        return None;
    }
    let metrics = attributes.find(libc::RTA_METRICS).unwrap_or_default();
    // One that leads several ways, or nowhere, or only some packets (by source or type of service), has no one device; of one
    // with an MTU of its own the programs know nothing.
    let is_plain = message.u8(7)? == libc::RTN_UNICAST
        && message.u8(2)? == 0
        && message.u8(3)? == 0
        && flags & (DEAD | LINKDOWN) == 0
        && [libc::RTA_MULTIPATH, libc::RTA_VIA, RTA_NH_ID, RTA_ENCAP]
            .iter()
            .all(|kind| attributes.find(*kind).is_none())
        && Attributes::inside(metrics).find(RTAX_MTU).is_none();
    let device = attributes.find_u32(libc::RTA_OIF).filter(|_| is_plain);
    let has_gateway = attributes.find(libc::RTA_GATEWAY).is_some();
    let gateway = self::address(attributes, libc::RTA_GATEWAY);
    Some(Listed::Main(Route {
        prefix,
        metric: attributes.find_u32(libc::RTA_PRIORITY).unwrap_or(0),
        device: device.filter(|_| !has_gateway),
        next_hop: device
            .zip(gateway)
            .map(|(ifindex, gateway)| NextHop { ifindex, gateway }),
    }))
}

/// An entry of a neighbour table.
enum Entry {
    /// The stack sends by it.
    Used(Neighbour),
    /// It does not, or no longer: by ifindex and address.
    Unused(u32, IpAddr),
    /// It is of no IP address.
    Other,
}

impl Entry {
    fn used(self) -> Option<Neighbour> {
        match self {
            Self::Used(neighbour) => Some(neighbour),
            Self::Unused(..) | Self::Other => None,
        }
    }
}

fn neighbour(message: &Received<'_>) -> Entry {
    let attributes = message.attributes(NDMSG);
    let (Some(ifindex), Some(address)) = (message.u32(4), address(attributes, NDA_DST)) else {
        return Entry::Other;
    };
    let is_used = message.u16(8).is_some_and(|state| state & USED != 0);
    match mac(attributes, NDA_LLADDR).filter(|mac| is_used && *mac != [0; 6]) {
        Some(mac) => Entry::Used(Neighbour {
            ifindex,
            address,
            mac,
        }),
        None => Entry::Unused(ifindex, address),
    }
}

/// Entries that are no bridge's, as a VXLAN device has them, name no master.
fn port(message: &Received<'_>) -> Option<Port> {
    let attributes = message.attributes(NDMSG);
    Some(Port {
        bridge: attributes.find_u32(NDA_MASTER)?,
        mac: mac(attributes, NDA_LLADDR)?,
        ifindex: message.u32(4)?,
    })
}

fn unusual_rule(message: &Received<'_>) -> Option<String> {
    let family = i32::from(message.u8(0)?);
    if message.kind != libc::RTM_NEWRULE || ![libc::AF_INET, libc::AF_INET6].contains(&family) {
        return None;
    }
    let attributes = message.attributes(RULE);
    let priority = attributes.find_u32(FRA_PRIORITY).unwrap_or(0);
    let table = attributes
        .find_u32(FRA_TABLE)
        .unwrap_or(u32::from(message.u8(4)?));
    let is_usual = matches!((priority, table), (0, 255) | (32_766, 254) | (32_767, 253));
    let words = if family == libc::AF_INET { "-4" } else { "-6" };
    (!is_usual).then(|| format!("ip {words} rule {priority}, table {table}"))
}

fn mac(attributes: Attributes<'_>, kind: u16) -> Option<Mac> {
    attributes.find(kind)?.try_into().ok()
}

fn address(attributes: Attributes<'_>, kind: u16) -> Option<IpAddr> {
    let octets = attributes.find(kind)?;
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(bytes: &[u8], read: impl Fn(&Received<'_>) -> T) -> T {
        read(&Received::split_first(bytes).unwrap().0)
    }

    fn neighbour_message(state: u16, mac: &[u8]) -> Vec<u8> {
        let mut fixed = [0; NDMSG];
        fixed[0] = libc::AF_INET as u8;
        fixed[4..8].copy_from_slice(&5u32.to_ne_bytes());
        fixed[8..10].copy_from_slice(&state.to_ne_bytes());
        Message::new(libc::RTM_NEWNEIGH, 0, &fixed)
            .attribute(NDA_DST, &[10, 244, 1, 5])
            .attribute(NDA_LLADDR, mac)
            .finish(0)
    }

    #[test]
    fn a_neighbour_counts_while_the_stack_sends_to_it() {
        const MAC: Mac = [2, 0, 0, 0, 0, 1];
        let used =
            |state, mac: &[u8]| read(&neighbour_message(state, mac), |m| neighbour(m).used());
        for state in [0x02, 0x04, 0x08, 0x10, 0x40, 0x80] {
            assert_eq!(used(state, &MAC).map(|n| n.mac), Some(MAC), "{state:#x}");
        }
        for state in [0, 0x01, 0x20] {
            assert_eq!(used(state, &MAC), None, "{state:#x}");
        }
        assert_eq!(used(0x40, &[0; 6]), None, "no address");
        assert_eq!(used(0x02, &[1; 20]), None, "no Ethernet");
    }

    #[test]
    fn a_confirmed_neighbour_is_no_news_and_a_failed_or_changed_one_is() {
        const MAC: Mac = [2, 0, 0, 0, 0, 1];
        let mut known = Neighbourhood::default();
        let is_news = |known: &Neighbourhood, state, mac: Mac| {
            read(&neighbour_message(state, &mac), |m| is_news(m, known))
        };
        assert!(is_news(&known, 0x02, MAC));
        assert!(!is_news(&known, 0x01, MAC), "not found yet");
        known.neighbours.insert(Neighbour {
            ifindex: 5,
            address: IpAddr::from([10, 244, 1, 5]),
            mac: MAC,
        });
        assert!(!is_news(&known, 0x04, MAC));
        assert!(is_news(&known, 0x20, MAC));
        assert!(is_news(&known, 0x02, [9; 6]));
    }

    fn route_message(table: u8, kind: u8, extra: impl FnOnce(Message) -> Message) -> Vec<u8> {
        let mut fixed = [0; RTMSG];
        fixed[0] = libc::AF_INET as u8;
        fixed[1] = 32;
        fixed[4] = table;
        fixed[7] = kind;
        let message = Message::new(libc::RTM_NEWROUTE, 0, &fixed)
            .attribute(libc::RTA_DST, &[10, 244, 1, 5])
            .attribute(libc::RTA_OIF, &5u32.to_ne_bytes());
        extra(message).finish(0)
    }

    #[test]
    fn only_a_direct_route_of_the_main_table_has_a_device() {
        let device = |bytes: &[u8]| match read(bytes, route) {
            Some(Listed::Main(route)) => Some(route.device),
            Some(Listed::Own(_)) | None => None,
        };
        let main = libc::RT_TABLE_MAIN;
        let unicast = libc::RTN_UNICAST;
        assert_eq!(device(&route_message(main, unicast, |m| m)), Some(Some(5)));
        assert_eq!(device(&route_message(255, unicast, |m| m)), None);
        let by_gateway = route_message(main, unicast, |m| {
            m.attribute(libc::RTA_GATEWAY, &[10, 0, 0, 1])
        });
        assert_eq!(device(&by_gateway), Some(None));
        let narrow = route_message(main, unicast, |m| {
            m.nested(libc::RTA_METRICS, |m| {
                m.attribute(RTAX_MTU, &1300u32.to_ne_bytes())
            })
        });
        assert_eq!(device(&narrow), Some(None));
        let nowhere = route_message(main, libc::RTN_BLACKHOLE, |m| m);
        assert_eq!(device(&nowhere), Some(None));
    }

    #[test]
    fn a_route_by_one_gateway_has_a_next_hop() {
        let next_hop = |bytes: &[u8]| match read(bytes, route) {
            Some(Listed::Main(route)) => route.next_hop,
            Some(Listed::Own(_)) | None => None,
        };
        let main = libc::RT_TABLE_MAIN;
        let by_gateway = |m: Message| m.attribute(libc::RTA_GATEWAY, &[10, 0, 0, 1]);
        let expected = NextHop {
            ifindex: 5,
            gateway: IpAddr::from([10, 0, 0, 1]),
        };
        let plain = route_message(main, libc::RTN_UNICAST, by_gateway);
        assert_eq!(next_hop(&plain), Some(expected));
        let encapsulated = route_message(main, libc::RTN_UNICAST, |m| {
            by_gateway(m).attribute(RTA_ENCAP, &[0; 4])
        });
        assert_eq!(next_hop(&encapsulated), None);
        for (at, value, what) in [(2, 8, "a source"), (3, 4, "a type of service")] {
            let mut bytes = plain.clone();
            bytes[16 + at] = value;
            assert_eq!(next_hop(&bytes), None, "{what}");
        }
    }

    #[test]
    fn the_nodes_own_addresses_are_told_from_routes() {
        let own = route_message(libc::RT_TABLE_LOCAL, libc::RTN_LOCAL, |m| m);
        let prefix = Prefix::of(IpAddr::from([10, 244, 1, 5]), 32);
        assert_eq!(read(&own, route), Some(Listed::Own(prefix)));
    }

    #[test]
    fn the_three_rules_of_every_namespace_are_usual() {
        let rule = |priority: u32, table: u32| {
            let mut fixed = [0; RULE];
            fixed[0] = libc::AF_INET as u8;
            let bytes = Message::new(libc::RTM_NEWRULE, 0, &fixed)
                .attribute(FRA_PRIORITY, &priority.to_ne_bytes())
                .attribute(FRA_TABLE, &table.to_ne_bytes())
                .finish(0);
            read(&bytes, unusual_rule)
        };
        for (priority, table) in [(0, 255), (32_766, 254), (32_767, 253)] {
            assert_eq!(rule(priority, table), None);
        }
        assert_eq!(rule(512, 254).as_deref(), Some("ip -4 rule 512, table 254"));
        assert!(rule(32_766, 100).is_some());
    }
}
