//! What must hold of any octets. libFuzzer looks for those of which it does not; each target is one function here.

pub mod changes;
pub mod parser;
pub mod pipeline;
pub mod related;
pub mod script;
pub mod sums;

use lb_common::addr::Address as _;
use lb_common::packet::ETHERNET;

/// EtherType of a frame, or none of one that ends before.
pub fn ethertype(frame: &[u8]) -> Option<u16> {
    let field = frame.get(12..ETHERNET)?;
    Some(u16::from_be_bytes([field[0], field[1]]))
}

/// EtherType of IPv4.
pub const IPV4: u16 = <[u8; 4]>::ETHERTYPE;
/// EtherType of IPv6.
pub const IPV6: u16 = <[u8; 16]>::ETHERTYPE;
