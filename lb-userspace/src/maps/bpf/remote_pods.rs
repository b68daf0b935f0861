//! The ways to the pods of other nodes, by prefix. As the pods of this node they have a writer of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use lb_common::addr::Address;
use lb_common::layout::name;
use lb_common::redirect::RemotePods;

use super::open::{Access, Pins};
use super::trie::Trie;
use crate::devices::pods::Prefix;
use crate::devices::remote::NextHop;
use crate::maps::MapError;
use crate::maps::row::{V4, V6};

/// The ways by prefix, none for a prefix that is left out of a shorter one.
pub type Ways = BTreeMap<Prefix, Option<NextHop>>;

/// The maps of both families.
pub struct RemotePodMaps {
    v4: Trie<V4, RemotePods<V4>>,
    v6: Trie<V6, RemotePods<V6>>,
}

impl RemotePodMaps {
    /// Opens the maps pinned in `dir`.
    ///
    /// # Errors
    /// If one can't be opened or has another shape.
    pub fn open(dir: &Path, access: Access) -> Result<Self, MapError> {
        let pins = Pins { dir, access };
        Ok(Self {
            v4: pins.trie(name::REMOTE_PODS_V4)?,
            v6: pins.trie(name::REMOTE_PODS_V6)?,
        })
    }

    /// What the maps hold.
    ///
    /// # Errors
    /// If the kernel refuses a read.
    pub fn rows(&self) -> Result<Ways, MapError> {
        let mut rows = Ways::new();
        self.v4.each(&mut |octets, bits, way| {
            rows.insert(Prefix::of(octets.into(), bits as u8), next_hop(&way));
        })?;
        self.v6.each(&mut |octets, bits, way| {
            rows.insert(Prefix::of(octets.into(), bits as u8), next_hop(&way));
        })?;
        Ok(rows)
    }

    /// Makes the maps hold `desired` where they hold `actual`. First comes what takes something out of a way, and last what is
    /// a way: in between, more is left to the stack.
    ///
    /// # Errors
    /// If the kernel refuses a write, a full map among the reasons; what came before it is written.
    pub fn change(&mut self, actual: &Ways, desired: &Ways) -> Result<(), MapError> {
        let new = |is_way: bool| {
            desired.iter().filter(move |(prefix, way)| {
                way.is_some() == is_way && actual.get(prefix) != Some(way)
            })
        };
        for (prefix, way) in new(false) {
            self.put(prefix, *way)?;
        }
        for prefix in actual.keys().filter(|it| !desired.contains_key(it)) {
            let (bits, text) = (u32::from(prefix.bits), || prefix.to_string());
            match prefix.address {
                IpAddr::V4(ip) => self.v4.delete(ip.octets(), bits, &text)?,
                IpAddr::V6(ip) => self.v6.delete(ip.octets(), bits, &text)?,
            }
        }
        for (prefix, way) in new(true) {
            self.put(prefix, *way)?;
        }
        Ok(())
    }

    fn put(&mut self, prefix: &Prefix, way: Option<NextHop>) -> Result<(), MapError> {
        let (bits, text) = (u32::from(prefix.bits), || prefix.to_string());
        match (prefix.address, way.map(|way| (way.ifindex, way.gateway))) {
            (IpAddr::V4(ip), Some((ifindex, IpAddr::V4(gateway)))) => {
                let way = RemotePods::new(ifindex, gateway.octets());
                self.v4.put(ip.octets(), bits, way, &text)
            }
            (IpAddr::V6(ip), Some((ifindex, IpAddr::V6(gateway)))) => {
                let way = RemotePods::new(ifindex, gateway.octets());
                self.v6.put(ip.octets(), bits, way, &text)
            }
            // A gateway of the other family is none.
            (IpAddr::V4(ip), _) => self.v4.put(ip.octets(), bits, RemotePods::unknown(), &text),
            (IpAddr::V6(ip), _) => self.v6.put(ip.octets(), bits, RemotePods::unknown(), &text),
        }
    }
}

fn next_hop<A: Address + Into<IpAddr>>(way: &RemotePods<A>) -> Option<NextHop> {
    let next_hop = NextHop {
        ifindex: way.ifindex(),
        gateway: way.gateway().into(),
    };
    (!way.is_unknown()).then_some(next_hop)
}
