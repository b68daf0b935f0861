//! One LPM trie: values by prefixes. It takes memory for what is there, where a hash has a table of buckets for what could be.

use std::collections::HashSet;
use std::hash::Hash;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::MapData;
use aya::maps::lpm_trie::{Key, LpmTrie};
use bytemuck::Pod;

use super::batch::{self, Batch};
use super::error;
use super::wire::Wire;
use crate::maps::MapError;

/// Rows that are read in one system call.
const BATCH: usize = 1_024;

/// A trie of our types.
pub struct Trie<A, V> {
    name: &'static str,
    max_entries: u32,
    map: LpmTrie<MapData, Wire<A>, Wire<V>>,
    /// The same map, for what aya does not do.
    fd: OwnedFd,
    /// The kernel takes many rows at once, as far as is known.
    has_batches: bool,
}

/// A row as its prefix, the bits of it that count, and its value.
type Visit<'v, A, V> = &'v mut dyn FnMut(A, u32, V);

impl<A: Pod + Eq + Hash, V: Pod> Trie<A, V> {
    /// Wraps an open map; `fd` is another descriptor of it.
    pub fn new(
        name: &'static str,
        max_entries: u32,
        map: LpmTrie<MapData, Wire<A>, Wire<V>>,
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

    /// Shows every row to `visit`, each once.
    ///
    /// # Errors
    /// If a row can't be read, or rows come and go too fast.
    pub fn each(&self, visit: Visit<'_, A, V>) -> Result<(), MapError> {
        let mut walk = Walk {
            seen: HashSet::new(),
            steps: 4 * u64::from(self.max_entries) + 16,
            visit,
        };
        let read_in_batches = self
            .each_in_batches(&mut walk)
            .map_err(|e| MapError::write(self.name, "read", "the next rows".to_owned(), e))?;
        if !read_in_batches {
            for row in self.map.iter() {
                let (key, Wire(value)) =
                    row.map_err(|e| error::write(self.name, "read", "the next row".to_owned(), e))?;
                if !walk.show(key, value) {
                    break;
                }
            }
        }
        if walk.steps == 0 {
            return Err(MapError::Restless { map: self.name });
        }
        Ok(())
    }

    /// Shows rows, many to a system call; false if the kernel has no batches for this map, before the first row.
    fn each_in_batches(&self, walk: &mut Walk<'_, A, V>) -> io::Result<bool> {
        let room = BATCH.min(self.max_entries as usize);
        let mut keys = vec![Key::new(0, Wire(A::zeroed())); room];
        let mut values = vec![V::zeroed(); room];
        let mut place = None;
        loop {
            // SAFETY: both are plain octets, and the sizes of an opened map were compared with theirs.
            let batch = unsafe { batch::lookup(self.fd.as_fd(), place, &mut keys, &mut values) }?;
            let (count, next) = match batch {
                Batch::More(count, next) => (count, Some(next)),
                Batch::Last(count) => (count, None),
                Batch::Narrow | Batch::Unsupported => return Ok(false),
            };
            let mut rows = keys.iter().zip(&values).take(count);
            let goes_on = rows.all(|(key, value)| walk.show(*key, *value));
            if next.is_none() || !goes_on {
                return Ok(true);
            }
            place = next;
        }
    }

    /// Inserts or replaces the row of a prefix; `text` is the key in words.
    pub fn put(
        &mut self,
        prefix: A,
        bits: u32,
        value: V,
        text: &dyn Fn() -> String,
    ) -> Result<(), MapError> {
        self.map
            .insert(&Key::new(bits, Wire(prefix)), Wire(value), 0)
            .map_err(|e| error::write(self.name, "put", text(), e))
    }

    /// Inserts or replaces rows in their order, each whether or not those before it could be; one result for each. `text` is the key
    /// with this index in words.
    pub fn put_all(
        &mut self,
        prefixes: &[(u32, A)],
        values: &[V],
        text: &dyn Fn(usize) -> String,
    ) -> Vec<Result<(), MapError>> {
        let key = |(bits, prefix): &(u32, A)| Key::new(*bits, Wire(*prefix));
        let keys: Vec<Key<Wire<A>>> = prefixes.iter().map(key).collect();
        let (name, map) = (self.name, &mut self.map);
        let put = &mut |index: usize| {
            let put = map.insert(&keys[index], Wire(values[index]), 0);
            put.map_err(|e| error::write(name, "put", text(index), e))
        };
        // SAFETY: both are plain octets, and the sizes of an opened map were compared with theirs.
        unsafe { batch::put_all(self.fd.as_fd(), &mut self.has_batches, &keys, values, put) }
    }

    /// Deletes the row of a prefix if it exists; `text` is the key in words.
    pub fn delete(
        &mut self,
        prefix: A,
        bits: u32,
        text: &dyn Fn() -> String,
    ) -> Result<(), MapError> {
        let key = Key::new(bits, Wire(prefix));
        match self.map.remove(&key).map_err(error::into_io) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(MapError::write(self.name, "delete", text(), e)),
        }
    }
}

/// A walk over all rows. The kernel starts again from the first one when the current one is deleted under us (`trie_get_next_key` in its
/// `kernel/bpf/lpm_trie.c`), so rows that were shown are known, and the walk is given up in the end.
struct Walk<'v, A, V> {
    seen: HashSet<(u32, A)>,
    steps: u64,
    visit: Visit<'v, A, V>,
}

impl<A: Pod + Eq + Hash, V> Walk<'_, A, V> {
    /// Shows a row that was not shown yet. Whether the walk is to go on.
    fn show(&mut self, key: Key<Wire<A>>, value: V) -> bool {
        let (bits, Wire(prefix)) = (key.prefix_len(), key.data());
        if self.seen.insert((bits, prefix)) {
            (self.visit)(prefix, bits, value);
        }
        self.steps = self.steps.saturating_sub(1);
        self.steps > 0
    }
}
