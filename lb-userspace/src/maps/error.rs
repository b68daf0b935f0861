//! What can go wrong with a map, with the names that are needed to act on it.

use std::io;
use std::path::PathBuf;

/// A failed access to a map.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The kernel has no room for a row.
    #[error("map {map} has no room for {key}: {source}")]
    Full {
        /// Name of the map.
        map: &'static str,
        /// The row's key, in words.
        key: String,
        /// E2BIG (the map's limit), ENOMEM or ENOSPC.
        source: io::Error,
    },
    /// A read or write failed.
    #[error("cannot {action} {key} in map {map}: {source}")]
    Access {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// The row's key, in words.
        key: String,
        /// The system's error.
        source: io::Error,
    },
    /// An index is outside an array.
    #[error("map {map} has {len} entries, so there is no entry {index}")]
    OutOfBounds {
        /// Name of the map.
        map: &'static str,
        /// The first index that is outside.
        index: u64,
        /// Number of entries.
        len: u32,
    },
    /// A pinned map can't be opened.
    #[error("cannot open map {map} pinned at {path}: {source}", path = path.display())]
    Open {
        /// Name of the map.
        map: &'static str,
        /// Its pin.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A pinned map is not what this version of the program works with.
    #[error(
        "map {map} pinned at {path} is {found}, and this version needs {expected}; remove the pin or run the version \
         that made it", path = path.display()
    )]
    Shape {
        /// Name of the map.
        map: &'static str,
        /// Its pin.
        path: PathBuf,
        /// The shape that it should have.
        expected: String,
        /// The shape that it has.
        found: String,
    },
    /// A map can't be made.
    #[error("cannot make map {map}: {reason}")]
    Create {
        /// Name of the map.
        map: &'static str,
        /// The kernel's reason.
        reason: String,
    },
}

impl MapError {
    /// A failed write of a row, told apart by whether there was no room.
    pub fn write(map: &'static str, action: &'static str, key: String, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOMEM | libc::ENOSPC) => Self::Full { map, key, source },
            _ => Self::Access {
                map,
                action,
                key,
                source,
            },
        }
    }

    /// Whether there was no room: more may fit later, or with a higher limit.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}
