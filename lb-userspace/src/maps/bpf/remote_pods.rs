//! The ways to the pods of other nodes, by prefix. As the pods of this node they have a writer of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};
use lb_common::addr::Address;
use lb_common::layout::name;
use lb_common::redirect::RemotePods;

use super::error;
use super::open::{Access, Pins};
use super::wire::Wire;
use crate::devices::pods::Prefix;
use crate::devices::remote::NextHop;
use crate::maps::MapError;
use crate::maps::row::{V4, V6};

/// The ways by prefix, none for a prefix that is left out of a shorter one.
pub type Ways = BTreeMap<Prefix, Option<NextHop>>;

/// The maps of both families.
pub struct RemotePodMaps {
    v4: Trie<V4>,
    v6: Trie<V6>,
}

impl RemotePodMaps {
    /// Opens the maps pinned in `dir`.
    ///
    /// # Errors
    /// If one can't be opened or has another shape.
    pub fn open(dir: &Path, access: Access) -> Result<Self, MapError> {
        let pins = Pins { dir, access };
        Ok(Self {
            v4: Trie::open(&pins, name::REMOTE_PODS_V4)?,
            v6: Trie::open(&pins, name::REMOTE_PODS_V6)?,
        })
    }

    /// What the maps hold.
    ///
    /// # Errors
    /// If the kernel refuses a read.
    pub fn rows(&self) -> Result<Ways, MapError> {
        let mut rows = self.v4.rows()?;
        rows.extend(self.v6.rows()?);
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
            match prefix.address {
                IpAddr::V4(ip) => self.v4.delete(ip.octets(), prefix)?,
                IpAddr::V6(ip) => self.v6.delete(ip.octets(), prefix)?,
            }
        }
        for (prefix, way) in new(true) {
            self.put(prefix, *way)?;
        }
        Ok(())
    }

    fn put(&mut self, prefix: &Prefix, way: Option<NextHop>) -> Result<(), MapError> {
        match (prefix.address, way.map(|way| (way.ifindex, way.gateway))) {
            (IpAddr::V4(ip), Some((ifindex, IpAddr::V4(gateway)))) => {
                let way = RemotePods::new(ifindex, gateway.octets());
                self.v4.put(ip.octets(), prefix, way)
            }
            (IpAddr::V6(ip), Some((ifindex, IpAddr::V6(gateway)))) => {
                let way = RemotePods::new(ifindex, gateway.octets());
                self.v6.put(ip.octets(), prefix, way)
            }
            // A gateway of the other family is none.
            (IpAddr::V4(ip), _) => self.v4.put(ip.octets(), prefix, RemotePods::unknown()),
            (IpAddr::V6(ip), _) => self.v6.put(ip.octets(), prefix, RemotePods::unknown()),
        }
    }
}

/// One map.
struct Trie<A> {
    name: &'static str,
    map: LpmTrie<MapData, Wire<A>, Wire<RemotePods<A>>>,
}

impl<A: Address + Into<IpAddr>> Trie<A>
where
    RemotePods<A>: bytemuck::Pod,
{
    fn open(pins: &Pins<'_>, name: &'static str) -> Result<Self, MapError> {
        let map = pins.typed(name, |data| Map::LpmTrie(data).try_into())?;
        Ok(Self { name, map })
    }

    fn rows(&self) -> Result<Ways, MapError> {
        let rows: Result<Ways, _> = self
            .map
            .iter()
            .map(|row| row.map(|(key, Wire(way))| read(&key, &way)))
            .collect();
        rows.map_err(|e| error::write(self.name, "read", "the next row".to_owned(), e))
    }

    fn put(&mut self, octets: A, prefix: &Prefix, way: RemotePods<A>) -> Result<(), MapError> {
        let key = Key::new(u32::from(prefix.bits), Wire(octets));
        self.map
            .insert(&key, Wire(way), 0)
            .map_err(|e| error::write(self.name, "put", prefix.to_string(), e))
    }

    fn delete(&mut self, octets: A, prefix: &Prefix) -> Result<(), MapError> {
        let key = Key::new(u32::from(prefix.bits), Wire(octets));
        match self.map.remove(&key).map_err(error::into_io) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(MapError::write(self.name, "delete", prefix.to_string(), e)),
        }
    }
}

fn read<A: Address + Into<IpAddr>>(
    key: &Key<Wire<A>>,
    way: &RemotePods<A>,
) -> (Prefix, Option<NextHop>) {
    let next_hop = NextHop {
        ifindex: way.ifindex(),
        gateway: way.gateway().into(),
    };
    let prefix = Prefix::of(key.data().0.into(), key.prefix_len() as u8);
    (prefix, (!way.is_unknown()).then_some(next_hop))
}
