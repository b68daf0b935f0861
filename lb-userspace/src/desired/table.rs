//! The selection table of one service port, family and scope.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use lb_common::frontend::SlotRange;
use lb_common::maglev;

/// Which endpoints a table is over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// Those of the whole cluster.
    Cluster,
    /// Those of this node.
    Local,
}

impl Scope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cluster, Self::Local];
}

/// A table in the slots array. Its content follows from its members.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Table {
    /// Index of its first slot.
    pub offset: u32,
    /// Ids of the backends, in the order of their addresses.
    pub members: Vec<u32>,
}

impl Table {
    /// Number of slots.
    pub fn len(&self) -> u32 {
        maglev::table_len(self.members.len())
    }

    /// Whether it has no backend, and so no slot.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The slots that it takes.
    pub fn slots(&self) -> Range<u32> {
        self.offset..self.offset + self.len()
    }

    /// What stands in the frontend's row.
    pub fn range(&self) -> SlotRange {
        if self.is_empty() {
            return SlotRange::default();
        }
        SlotRange {
            offset: self.offset,
            len: self.len(),
        }
    }
}

/// The backend id of every slot. Which backend gets which slot depends on the addresses alone, not on the ids.
pub fn fill(members: &[(SocketAddr, u32)]) -> Vec<u32> {
    let seeds: Vec<u64> = members.iter().map(|(address, _)| seed(address)).collect();
    let table = maglev::table(&seeds);
    table
        .into_iter()
        .map(|index| members[index as usize].1)
        .collect()
}

/// Stands for an endpoint in the table: FNV-1a over address and port, by hand because it must not change between
/// versions, or an upgrade moves every slot.
fn seed(address: &SocketAddr) -> u64 {
    let fnv = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
    let hash = match address.ip() {
        IpAddr::V4(ip) => ip.octets().iter().fold(0xcbf2_9ce4_8422_2325, fnv),
        IpAddr::V6(ip) => ip.octets().iter().fold(0xcbf2_9ce4_8422_2325, fnv),
    };
    address.port().to_be_bytes().iter().fold(hash, fnv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ids: [u32; 3]) -> Vec<(SocketAddr, u32)> {
        let addresses = ["10.1.0.1:80", "10.1.0.2:80", "[fd00::1]:80"];
        addresses
            .iter()
            .zip(ids)
            .map(|(a, id)| (a.parse().unwrap(), id))
            .collect()
    }

    #[test]
    fn the_seed_of_an_address_never_changes() {
        assert_eq!(
            seed(&"10.1.0.1:8080".parse().unwrap()),
            0x71f8_d4cc_fcd8_1b28
        );
        assert_eq!(
            seed(&"[fd00::1]:8080".parse().unwrap()),
            0xeff4_43bb_fc02_a504
        );
    }

    #[test]
    fn other_ids_of_the_same_addresses_take_the_same_slots() {
        let one = fill(&members([1, 2, 3]));
        let other = fill(&members([30, 10, 20]));
        let renamed: Vec<u32> = one
            .iter()
            .map(|id| [30, 10, 20][*id as usize - 1])
            .collect();
        assert_eq!(renamed, other);
    }
}
