//! A map for few entries, of which there are many: a Service has a port or two and a port has some endpoints, and a node of a
//! `BTreeMap` has room for eleven, however large they are.

use std::ops::Index;
use std::slice;

/// A map in the order of its keys. Adding a key at the end is cheap, and elsewhere costs moving what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Few<K, V> {
    entries: Vec<(K, V)>,
}

/// Up to so many entries there is room for no more than there are.
const TIGHT: usize = 4;

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<K: Ord, V> Few<K, V> {
    /// Without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let index = self.find(key).ok()?;
        Some(&self.entries[index].1)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(index) => self.entries[index].1 = value,
            Err(index) => {
                if self.entries.len() < TIGHT {
                    self.entries.reserve_exact(1);
                }
                self.entries.insert(index, (key, value));
            }
        }
    }

    /// Takes out the value of a key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let index = self.find(key).ok()?;
        Some(self.entries.remove(index).1)
    }

    /// The entries, by key.
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.into_iter()
    }

    /// The keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// The values, by key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        if self.entries.last().is_some_and(|(last, _)| last < key) {
            return Err(self.entries.len());
        }
        self.entries.binary_search_by(|(it, _)| it.cmp(key))
    }
}

/// The entries of a [`Few`], by key.
pub type Iter<'a, K, V> = std::iter::Map<slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;

impl<'a, K, V> IntoIterator for &'a Few<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter().map(|(key, value)| (key, value))
    }
}

impl<K: Ord, V> Index<&K> for Few<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("an entry with this key")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Lesser values stand for taking the key out.
    const REMOVES: u16 = u16::MAX / 4;

    proptest! {
        #[test]
        fn it_is_a_map_in_order(entries in proptest::collection::vec((0_u8..20, any::<u16>()), 0..30)) {
            let (mut few, mut map) = (Few::new(), BTreeMap::new());
            for (key, value) in entries {
                if value < REMOVES {
                    prop_assert_eq!(few.remove(&key), map.remove(&key));
                } else {
                    few.insert(key, value);
                    map.insert(key, value);
                }
            }
            prop_assert!(few.iter().eq(&map));
            prop_assert!(few.keys().eq(map.keys()));
            prop_assert!(few.values().eq(map.values()));
            prop_assert_eq!((few.len(), few.is_empty()), (map.len(), map.is_empty()));
            for key in 0..20 {
                prop_assert_eq!(few.get(&key), map.get(&key));
            }
        }
    }

    #[test]
    fn one_entry_takes_the_room_of_one() {
        let mut few = Few::new();
        few.insert(1, [0_u8; 400]);
        assert_eq!(few.entries.capacity(), 1);
    }
}
