//! One hash map.

use std::collections::HashSet;
use std::hash::Hash;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{HashMap, MapData};
use bytemuck::Pod;

use super::batch::{self, Batch};
use super::error;
use super::wire::Wire;
use crate::maps::{MapError, Walk};

/// Rows that are read in one system call, if no bucket has more.
const BATCH: usize = 1_024;

/// A hash or LRU hash map of our types.
pub struct Table<K, V> {
    name: &'static str,
    max_entries: u32,
    map: HashMap<MapData, Wire<K>, Wire<V>>,
    /// The same map, for what aya does not do.
    fd: OwnedFd,
    /// The kernel takes many rows at once, as far as is known.
    has_batches: bool,
}

impl<K: Pod + Eq + Hash, V: Pod> Table<K, V> {
    /// Wraps an open map; `fd` is another descriptor of it.
    pub fn new(
        name: &'static str,
        max_entries: u32,
        map: HashMap<MapData, Wire<K>, Wire<V>>,
        fd: OwnedFd,
    ) -> Self {
        Self {
            name,
            max_entries,
            map,
            fd,
            has_batches: true,
        }
    }

    /// How many rows there is room for.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Shows every row to `visit`, each key once.
    ///
    /// # Errors
    /// If a row can't be read, or rows come and go too fast.
    pub fn each(&self, visit: &mut dyn FnMut(K, V)) -> Result<(), MapError> {
        match self.walk(visit)? {
            Walk::Complete => Ok(()),
            Walk::Incomplete => Err(MapError::Restless { map: self.name }),
        }
    }

    /// Shows rows to `visit`, each key once, of a map that the data plane writes meanwhile.
    pub fn walk(&self, visit: &mut dyn FnMut(K, V)) -> Result<Walk, MapError> {
        let read_in_batches = self
            .each_in_batches(visit)
            .map_err(|e| MapError::write(self.name, "read", "the next rows".to_owned(), e))?;
        if read_in_batches {
            return Ok(Walk::Complete);
        }
        let rows = self
            .map
            .iter()
            .map(|row| row.map(|(Wire(key), Wire(value))| (key, value)));
        walk(rows, self.max_entries, visit)
            .map_err(|e| error::write(self.name, "read", "the next row".to_owned(), e))
    }

    /// Shows every row, many to a system call; false if the kernel has no batches for this map, before the first row.
    fn each_in_batches(&self, visit: &mut dyn FnMut(K, V)) -> io::Result<bool> {
        let mut keys = vec![K::zeroed(); BATCH.min(self.max_entries as usize)];
        let mut values = vec![V::zeroed(); keys.len()];
        let mut place = None;
        loop {
            // SAFETY: both are plain octets, and the sizes of an opened map were compared with theirs.
            let batch = unsafe { batch::lookup(self.fd.as_fd(), place, &mut keys, &mut values) }?;
            let (count, next) = match batch {
                Batch::More(count, next) => (count, Some(next)),
                Batch::Last(count) => (count, None),
                Batch::Narrow => {
                    let wider = 2 * keys.len();
                    keys.resize(wider, K::zeroed());
                    values.resize(wider, V::zeroed());
                    continue;
                }
                Batch::Unsupported => return Ok(false),
            };
            for (key, value) in keys.iter().zip(&values).take(count) {
                visit(*key, *value);
            }
            if next.is_none() {
                return Ok(true);
            }
            place = next;
        }
    }

    /// Inserts or replaces a row; `text` is the key in words.
    pub fn put(&mut self, key: &K, value: &V, text: &dyn Fn() -> String) -> Result<(), MapError> {
        self.map
            .insert(Wire(*key), Wire(*value), 0)
            .map_err(|e| error::write(self.name, "put", text(), e))
    }

    /// Inserts or replaces rows in their order, each whether or not those before it could be; one result for each. There are as
    /// many keys as values; `text` is the key with this index in words.
    pub fn put_all(
        &mut self,
        keys: &[K],
        values: &[V],
        text: &dyn Fn(usize) -> String,
    ) -> Vec<Result<(), MapError>> {
        let (name, map) = (self.name, &mut self.map);
        let put = &mut |index: usize| {
            let put = map.insert(Wire(keys[index]), Wire(values[index]), 0);
            put.map_err(|e| error::write(name, "put", text(index), e))
        };
        // SAFETY: both are plain octets, and the sizes of an opened map were compared with theirs.
        unsafe { batch::put_all(self.fd.as_fd(), &mut self.has_batches, keys, values, put) }
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

/// Shows each key once. The kernel starts again from the first key when the current one is deleted under us
/// (`htab_map_get_next_key` in its `kernel/bpf/hashtab.c`), so a busy LRU map might be walked for ever: after four times
/// the rows that there is room for the walk is given up.
fn walk<K: Copy + Eq + Hash, V, E>(
    rows: impl Iterator<Item = Result<(K, V), E>>,
    max_entries: u32,
    visit: &mut dyn FnMut(K, V),
) -> Result<Walk, E> {
    let mut seen: HashSet<K> = HashSet::new();
    let mut steps = 4 * u64::from(max_entries) + 16;
    for row in rows {
        if steps == 0 {
            return Ok(Walk::Incomplete);
        }
        steps -= 1;
        let (key, value) = row?;
        if seen.insert(key) {
            visit(key, value);
        }
    }
    Ok(Walk::Complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: impl Iterator<Item = u32>, walked: Walk, seen: &[u32]) {
        let rows = keys.map(|key| Ok::<_, io::Error>((key, ())));
        let mut shown = Vec::new();
        let walk = walk(rows, 3, &mut |key, ()| shown.push(key)).unwrap();
        assert_eq!((walk, &shown[..]), (walked, seen));
    }

    #[test]
    fn a_walk_that_begins_again_shows_each_row_once_and_is_given_up_in_the_end() {
        check([1, 2, 3].into_iter(), Walk::Complete, &[1, 2, 3]);
        check([1, 2, 1, 2, 3].into_iter(), Walk::Complete, &[1, 2, 3]);
        check([1, 2].into_iter().cycle(), Walk::Incomplete, &[1, 2]);
    }
}
