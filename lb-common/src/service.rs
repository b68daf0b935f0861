//! The names of service ports, kept in a map so that every tool can speak in them while no agent runs.

use crate::addr::Protocol;
use crate::layout::map_type;

/// Octets of the key of `services` behind the number of its bits.
pub const PATH: usize = 4;

/// The key of `services`, an LPM trie, that stands for a service id which is not 0: a number of bits, and these in network order. They
/// are the id's binary digits behind the first.
///
/// So each id but 1 hangs below another, which is half of it, and a trie of the ids from 1 on has a node for each and no other. Of keys
/// that all are 32 bits long half of the nodes would be forks that hold nothing and take as much memory.
pub fn path(id: u32) -> (u32, [u8; PATH]) {
    let bits = id.checked_ilog2().unwrap_or(0);
    // The first digit is shifted out.
    let digits = id.checked_shl(u32::BITS - bits).unwrap_or(0);
    (bits, digits.to_be_bytes())
}

/// The service id that a key of `services` stands for; more bits than a path has stand for none, 0.
pub fn id(bits: u32, path: [u8; PATH]) -> u32 {
    let digits = u32::from_be_bytes(path);
    let Some(first) = 1_u32.checked_shl(bits) else {
        return 0;
    };
    first | digits.checked_shr(u32::BITS - bits).unwrap_or(0)
}

map_type! {
    /// Value of `services`; the key is the id's [`path`]. Names are padded with zeros.
    ///
    /// The lengths are the API's limits: 63 octets for a namespace and a Service's name (RFC 1123 label), 15 for a port's
    /// name (RFC 6335).
    pub struct ServiceName {
        namespace: [u8; 64],
        name: [u8; 64],
        port_name: [u8; 16],
        protocol: u8,
        reserved: [u8; 3],
    }
}

impl ServiceName {
    /// The name of a service port, or none where a part is longer than the API allows.
    pub fn new(namespace: &str, name: &str, port_name: &str, protocol: Protocol) -> Option<Self> {
        Some(Self {
            namespace: padded(namespace)?,
            name: padded(name)?,
            port_name: padded(port_name)?,
            protocol: protocol.number(),
            reserved: [0; 3],
        })
    }

    /// Namespace of the Service.
    pub fn namespace(&self) -> &str {
        text(&self.namespace)
    }

    /// Name of the Service.
    pub fn name(&self) -> &str {
        text(&self.name)
    }

    /// Name of the port, empty where the only port has none.
    pub fn port_name(&self) -> &str {
        text(&self.port_name)
    }

    /// Protocol of the port.
    pub fn protocol(&self) -> Option<Protocol> {
        Protocol::from_number(self.protocol)
    }
}

fn padded<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    // One zero at the end always, so that a reader in C finds its end.
    if text.len() >= N || text.bytes().any(|b| b == 0) {
        return None;
    }
    octets[..text.len()].copy_from_slice(text.as_bytes());
    Some(octets)
}

fn text(octets: &[u8]) -> &str {
    let end = octets.iter().position(|b| *b == 0).unwrap_or(octets.len());
    core::str::from_utf8(&octets[..end]).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_hangs_below_half_of_it() {
        for (number, key) in [
            (1, (0, [0, 0, 0, 0])),
            (2, (1, [0, 0, 0, 0])),
            (3, (1, [0x80, 0, 0, 0])),
            (6, (2, [0x80, 0, 0, 0])),
            (7, (2, [0xc0, 0, 0, 0])),
            (u32::MAX, (31, [0xff, 0xff, 0xff, 0xfe])),
        ] {
            assert_eq!(path(number), key, "{number}");
        }
        assert_eq!(id(32, [0; PATH]), 0);
    }

    proptest! {
        #[test]
        fn a_path_is_one_ids_alone(number in 1_u32..) {
            let (bits, octets) = path(number);
            prop_assert_eq!(id(bits, octets), number);
            let (above, prefix) = path(number / 2);
            if number > 1 {
                prop_assert_eq!(above + 1, bits);
                let mask = u32::MAX.checked_shl(u32::BITS - above).unwrap_or(0);
                prop_assert_eq!(u32::from_be_bytes(octets) & mask, u32::from_be_bytes(prefix));
            }
        }
    }
}
