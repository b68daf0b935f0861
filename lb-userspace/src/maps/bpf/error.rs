//! aya's errors in our words.

use std::io;

use crate::maps::MapError;

/// A failed access to a row; the error number decides whether the map was full.
pub fn write(
    map: &'static str,
    action: &'static str,
    key: String,
    error: aya::maps::MapError,
) -> MapError {
    MapError::write(map, action, key, into_io(error))
}

/// The system's error inside aya's, or a new one with aya's text.
pub fn into_io(error: aya::maps::MapError) -> io::Error {
    match error {
        aya::maps::MapError::SyscallError(error) => error.io_error,
        aya::maps::MapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
