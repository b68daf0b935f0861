//! One LPM trie: values by prefixes of addresses. It takes memory for what is there, where a hash has a table of buckets for what
//! could be.

use std::io;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};
use bytemuck::Pod;

use super::error;
use super::open::Pins;
use super::wire::Wire;
use crate::maps::MapError;

/// A trie of our types.
pub struct Trie<A, V> {
    name: &'static str,
    max_entries: u32,
    map: LpmTrie<MapData, Wire<A>, Wire<V>>,
}

impl<A: Pod, V: Pod> Trie<A, V> {
    /// Opens the map of this name.
    pub fn open(pins: &Pins<'_>, name: &'static str) -> Result<Self, MapError> {
        let mut max_entries = 0;
        let map = pins.typed(name, |data| {
            max_entries = data.info()?.max_entries();
            Map::LpmTrie(data).try_into()
        })?;
        Ok(Self {
            name,
            max_entries,
            map,
        })
    }

    /// Number of rows that the map has room for.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Shows every row to `visit` as address, bits of it that count, and value. One may be shown twice where another is deleted
    /// meanwhile.
    pub fn each(&self, visit: &mut dyn FnMut(A, u32, V)) -> Result<(), MapError> {
        for row in self.map.iter() {
            let (key, Wire(value)) =
                row.map_err(|e| error::write(self.name, "read", "the next row".to_owned(), e))?;
            visit(key.data().0, key.prefix_len(), value);
        }
        Ok(())
    }

    /// Inserts or replaces the row of a prefix; `text` is the key in words.
    pub fn put(
        &mut self,
        address: A,
        bits: u32,
        value: V,
        text: &dyn Fn() -> String,
    ) -> Result<(), MapError> {
        self.map
            .insert(&Key::new(bits, Wire(address)), Wire(value), 0)
            .map_err(|e| error::write(self.name, "put", text(), e))
    }

    /// Deletes the row of a prefix if it exists; `text` is the key in words.
    pub fn delete(
        &mut self,
        address: A,
        bits: u32,
        text: &dyn Fn() -> String,
    ) -> Result<(), MapError> {
        let key = Key::new(bits, Wire(address));
        match self.map.remove(&key).map_err(error::into_io) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(MapError::write(self.name, "delete", text(), e)),
        }
    }
}
