//! Hash maps and sets with a hash that costs little.
//!
//! The standard library's withstands whoever knows nothing of it but can choose all keys. What is kept here are names, addresses and ids of
//! objects that the API server has let in, a few times ten thousand of them, and each process has a secret of its own.

use foldhash::fast::RandomState;

/// A hash map.
pub type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A hash set.
pub type HashSet<K> = std::collections::HashSet<K, RandomState>;
