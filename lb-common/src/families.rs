//! Which address families the programs serve, as a number that the agent gives them.

/// IPv4.
pub const IPV4: u32 = 1;
/// IPv6.
pub const IPV6: u32 = 2;

/// The bit of a family, by the length of its addresses in octets.
#[inline(always)]
pub const fn bit(octets: usize) -> u32 {
    if octets == 4 { IPV4 } else { IPV6 }
}
