//! Reads the manifests of a directory. Keeps nothing and judges no content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::document::Format;

/// The files of a directory by name: their text, or why it cannot be had.
pub(super) type Files = BTreeMap<String, Text>;

/// Text of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Text {
    /// All of it.
    Read(String),
    /// It is being written and must not be read yet.
    Unfinished,
    /// It cannot be read, and why.
    Unreadable(String),
}

/// Format of a file by its name; none for one that is no manifest.
pub(super) fn format_of(name: &str) -> Option<Format> {
    if name.starts_with('.') {
        return None;
    }
    match Path::new(name).extension()?.to_str()? {
        "yaml" | "yml" => Some(Format::Yaml),
        "json" => Some(Format::Json),
        _ => None,
    }
}

/// Reads every manifest of a directory except the `unfinished` ones.
///
/// # Errors
///
/// When the directory cannot be listed; a file that cannot be read is an entry of the result.
pub(super) fn read(directory: &Path, unfinished: &BTreeSet<String>) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(directory)? {
        // A name that no message could show counts as hidden.
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        if format_of(&name).is_none() {
            continue;
        }
        let text = if unfinished.contains(&name) {
            Text::Unfinished
        } else {
            match read_file(&directory.join(&name)) {
                Ok(Some(text)) => Text::Read(text),
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Text::Unreadable(error.to_string()),
            }
        };
        files.insert(name, text);
    }
    Ok(files)
}

/// None for what is no file: reading a pipe would wait for ever.
fn read_file(path: &Path) -> io::Result<Option<String>> {
    if fs::metadata(path)?.is_file() {
        fs::read_to_string(path).map(Some)
    } else {
        Ok(None)
    }
}
