//! Addresses as the API writes them. Knows nothing of the objects that they stand in.

use std::net::{IpAddr, Ipv4Addr};

/// Parses an address like the reference does: decimal octets may have leading zeros, and an IPv4 address mapped into IPv6 is
/// the IPv4 address. None for what is not an address.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok().or_else(|| padded(text).map(IpAddr::V4))?;
    Some(address.to_canonical())
}

/// Why an address can be that of no Service, if it cannot.
pub(super) fn special(address: &IpAddr) -> Option<&'static str> {
    let broadcast = *address == IpAddr::V4(Ipv4Addr::BROADCAST);
    [
        (address.is_unspecified(), "unspecified"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (broadcast, "the broadcast address"),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}

/// Why an address can be that of no endpoint, if it cannot: a link-local one names no pod beyond its link.
pub(super) fn special_endpoint(address: &IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    special(address).or(link_local.then_some("a link-local address"))
}

/// Four decimal octets of up to three digits, zeros in front allowed: objects made long ago may hold such.
fn padded(text: &str) -> Option<Ipv4Addr> {
    let mut parts = text.split('.');
    let mut octets = [0u8; 4];
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}
