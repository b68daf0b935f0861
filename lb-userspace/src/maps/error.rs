//! What can go wrong with a map, with the names that are needed to act on it.

use std::io;
use std::path::PathBuf;

/// A failed access to a map. Each holds its cause's words, so that they stand wherever the error is told, and none has
/// the cause as its source, so that a chain of causes does not tell it twice.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The kernel has no room for a row.
    #[error("map {map} has no room for {key}: {cause}")]
    Full {
        /// Name of the map.
        map: &'static str,
        /// The row's key, in words.
        key: String,
        /// E2BIG (the map's limit), ENOMEM or ENOSPC.
        cause: io::Error,
    },
    /// A read or write failed.
    #[error("cannot {action} {key} in map {map}: {cause}")]
    Access {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// The row's key, in words.
        key: String,
        /// The system's error.
        cause: io::Error,
    },
    /// Rows came and went too fast for a reader.
    #[error("map {map} changes too fast to be read whole; try again")]
    Restless {
        /// Name of the map.
        map: &'static str,
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
    #[error("cannot open map {map} pinned at {path}: {cause}", path = path.display())]
    Open {
        /// Name of the map.
        map: &'static str,
        /// Its pin.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
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
    pub fn write(map: &'static str, action: &'static str, key: String, cause: io::Error) -> Self {
        match cause.raw_os_error() {
            Some(libc::E2BIG | libc::ENOMEM | libc::ENOSPC) => Self::Full { map, key, cause },
            _ => Self::Access {
                map,
                action,
                key,
                cause,
            },
        }
    }

    /// Whether there was no room: more may fit later, or with a higher limit.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_causes_tells_the_systems_error_once() {
        let error = MapError::write(
            "services",
            "put",
            "service 1".to_owned(),
            io::Error::from_raw_os_error(libc::ENOENT),
        );
        let chain = format!("{:#}", anyhow::Error::new(error).context("outside"));
        assert_eq!(chain.matches("os error 2").count(), 1, "{chain}");
    }
}
