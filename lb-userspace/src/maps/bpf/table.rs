//! One hash map.

use std::collections::HashSet;
use std::hash::Hash;
use std::io;

use aya::maps::{HashMap, MapData};
use bytemuck::Pod;

use super::error;
use super::wire::Wire;
use crate::maps::MapError;

/// A hash or LRU hash map of our types.
pub struct Table<K, V> {
    name: &'static str,
    max_entries: u32,
    map: HashMap<MapData, Wire<K>, Wire<V>>,
}

impl<K: Pod + Eq + Hash, V: Pod> Table<K, V> {
    /// Wraps an open map.
    pub fn new(
        name: &'static str,
        max_entries: u32,
        map: HashMap<MapData, Wire<K>, Wire<V>>,
    ) -> Self {
        Self {
            name,
            max_entries,
            map,
        }
    }

    /// How many rows there is room for.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Shows every row to `visit`, each key once.
    pub fn each(&self, visit: &mut dyn FnMut(K, V)) -> Result<(), MapError> {
        let mut seen: HashSet<K> = HashSet::new();
        // The kernel starts again from the first key when the current one is deleted under us (htab_map_get_next_key in
        // kernel/bpf/hashtab.c), so a busy LRU map might be walked for ever.
        let mut steps = 4 * u64::from(self.max_entries) + 16;
        for row in self.map.iter() {
            match row {
                Ok((Wire(key), Wire(value))) => {
                    if seen.insert(key) {
                        visit(key, value);
                    }
                }
                Err(e) => {
                    return Err(error::write(
                        self.name,
                        "read",
                        "the next row".to_owned(),
                        e,
                    ));
                }
            }
            steps -= 1;
            if steps == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Inserts or replaces a row; `text` is the key in words.
    pub fn put(&mut self, key: &K, value: &V, text: &dyn Fn() -> String) -> Result<(), MapError> {
        self.map
            .insert(Wire(*key), Wire(*value), 0)
            .map_err(|e| error::write(self.name, "put", text(), e))
    }

    /// Deletes a row if it exists; `text` is the key in words.
    pub fn delete(&mut self, key: &K, text: &dyn Fn() -> String) -> Result<(), MapError> {
        match self.map.remove(&Wire(*key)).map_err(error::into_io) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(MapError::write(self.name, "delete", text(), e)),
        }
    }
}
