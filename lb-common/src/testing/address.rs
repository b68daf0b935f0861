//! Addresses for readable tests.

use crate::addr::Address;

/// An address from text: `v4("10.0.0.1")`.
pub fn v4(text: &str) -> [u8; 4] {
    text.parse::<std::net::Ipv4Addr>()
        .expect("an IPv4 address")
        .octets()
}

/// An address from text: `v6("fd00::1")`.
pub fn v6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>()
        .expect("an IPv6 address")
        .octets()
}

/// Both families from one number, for tests that run on each.
pub trait Numbered: Address {
    /// A pod's address.
    fn pod(n: u8) -> Self;
    /// A VIP.
    fn vip(n: u8) -> Self;
}

impl Numbered for [u8; 4] {
    fn pod(n: u8) -> Self {
        [10, 244, 1, n]
    }
    fn vip(n: u8) -> Self {
        [10, 96, 0, n]
    }
}

impl Numbered for [u8; 16] {
    fn pod(n: u8) -> Self {
        [0xfd, 0, 0, 0x10, 0x02, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, n]
    }
    fn vip(n: u8) -> Self {
        [0xfd, 0, 0, 0x10, 0, 0x96, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
    }
}
