//! Pinned maps: where they are, and whether what is pinned there has the shape that the object demands.
//!
//! aya takes whatever it finds at a pin's path, and the kernel checks programs against the map that it is given; a map of
//! another shape would be read as garbage. So every pin is compared before anything is loaded, and one of another shape
//! is never used. Programs that run already keep the map that they were loaded with until they are replaced.

mod carry_over;
mod flow_tables;
mod paths;

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use lb_common::layout::name;
use thiserror::Error;
use tracing::{info, warn};

use super::bpf::{self, ObjectKind};
use crate::maps::{Shape, spec};
use crate::model::Families;
pub use carry_over::CopyReport;
pub(super) use carry_over::{CarryOver, copy_entries};
pub(super) use flow_tables::FlowTables;
pub use paths::{PinPaths, other_layouts};
pub(super) use paths::{layouts, link_name, link_pin, links_of_other_layouts};

/// A pin can't be read, made or removed.
#[derive(Debug, Error)]
#[error("cannot {action} {path}{hint}", path = .path.display())]
pub struct PinError {
    /// What was tried.
    pub action: &'static str,
    /// The pin or folder.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
    hint: &'static str,
}

impl PinError {
    pub(super) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                " (it takes root, in the user namespace that the BPF file system belongs to)"
            }
            _ => "",
        };
        Self {
            action,
            path: path.into(),
            source,
            hint,
        }
    }
}

/// What is pinned at a map's path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinState {
    /// Nothing.
    Absent,
    /// A map of the demanded shape.
    Same,
    /// Something else, which must not be used.
    OtherShape {
        /// What is there.
        found: Found,
        /// What the object and the limits demand.
        expected: Shape,
    },
}

/// What is pinned where a map of another shape was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A map.
    Map(Shape),
    /// A program, a link or something newer.
    NotAMap,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Map(shape) => shape.fmt(f),
            Self::NotAMap => f.write_str("no map"),
        }
    }
}

/// What became of a map's pin when the programs were loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinOutcome {
    /// There was none; the map is new.
    Created,
    /// The pinned map is used, with all that it holds.
    Reused,
    /// The pinned map had another shape; a new one took its place.
    Replaced {
        /// What was there.
        found: Found,
        /// What is there now.
        expected: Shape,
        /// What was copied, none where entries of the old shape mean nothing in the new one.
        carried_over: Option<CopyReport>,
    },
}

/// Compares every pinned map with the shape that is demanded. Changes nothing.
///
/// # Errors
/// If a pin exists and can't be opened.
pub fn states(
    paths: &PinPaths,
    demanded: &BTreeMap<&'static str, Shape>,
) -> Result<BTreeMap<&'static str, PinState>, PinError> {
    demanded
        .iter()
        .map(|(name, expected)| Ok((*name, compare(open(&paths.map(name))?.as_ref(), *expected))))
        .collect()
}

/// The pins after [`prepare`]: those left are all of the demanded shape.
pub(super) struct Prepared {
    pub(super) states: BTreeMap<&'static str, PinState>,
    /// Maps that were unlinked and whose entries fit into their successors.
    pub(super) old_entries: BTreeMap<&'static str, OwnedFd>,
}

/// Makes the folders and unlinks every pin of another shape. Of families that are not served no entry is kept.
pub(super) fn prepare(
    paths: &PinPaths,
    demanded: &BTreeMap<&'static str, Shape>,
    families: Families,
) -> Result<Prepared, PinError> {
    for folder in [paths.layout(), paths.links()] {
        fs::create_dir_all(&folder).map_err(|e| PinError::new("create the folder", &folder, e))?;
    }
    let mut prepared = Prepared {
        states: BTreeMap::new(),
        old_entries: BTreeMap::new(),
    };
    for (name, expected) in demanded {
        let path = paths.map(name);
        let pinned = open(&path)?;
        let state = compare(pinned.as_ref(), *expected);
        prepared.states.insert(name, state);
        let PinState::OtherShape { found, .. } = state else {
            continue;
        };
        remove(&path)?;
        let is_served = spec::family_of(name).is_none_or(|family| families.has(family));
        let is_of_another_size = found.differs_in_entries_only(expected);
        let keeps_entries = is_irreplaceable(name) && is_of_another_size && is_served;
        if keeps_entries {
            info!(map = *name, %found, %expected, "pinned map has another size, making a new one with its entries");
        } else if is_of_another_size && !is_served {
            info!(map = *name, %found, "the family is not served, its entries are let go");
        } else {
            warn!(map = *name, %found, %expected, "pinned map has another shape, making a new one; its entries are lost");
        }
        if let Some(Pinned { fd, .. }) = pinned.filter(|_| keeps_entries) {
            prepared.old_entries.insert(name, fd);
        }
    }
    Ok(prepared)
}

/// Opens a pinned map of a known shape.
pub(super) fn open_map(path: &Path) -> Result<Option<OwnedFd>, PinError> {
    Ok(open(path)?.map(|pinned| pinned.fd))
}

/// Removes a pin; one that is gone already is no error. Returns whether there was one.
pub(super) fn remove(path: &Path) -> Result<bool, PinError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PinError::new("remove the pin", path, error)),
    }
}

/// Removes the pin of a link after its program is off the device. Returns whether there was one.
pub(super) fn remove_link(path: &Path) -> Result<bool, PinError> {
    match bpf::get(path) {
        Ok(link) => {
            if bpf::kind(link.as_fd()).is_ok_and(|kind| kind == ObjectKind::Link) {
                // Refused where the device is gone, and then there is nothing to take off.
                let _ = bpf::link_detach(link.as_fd());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        // What can't be opened may still be removed.
        Err(_) => {}
    }
    remove(path)
}

struct Pinned {
    fd: OwnedFd,
    found: Found,
}

fn open(path: &Path) -> Result<Option<Pinned>, PinError> {
    let failed = |error| PinError::new("open the pin", path, error);
    let fd = match bpf::get(path) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let found = match bpf::kind(fd.as_fd()).map_err(failed)? {
        ObjectKind::Map => Found::Map(bpf::map_info(fd.as_fd()).map_err(failed)?.into()),
        _ => Found::NotAMap,
    };
    Ok(Some(Pinned { fd, found }))
}

fn compare(pinned: Option<&Pinned>, expected: Shape) -> PinState {
    match pinned.map(|pinned| pinned.found) {
        None => PinState::Absent,
        Some(Found::Map(shape)) if shape == expected => PinState::Same,
        Some(found) => PinState::OtherShape { found, expected },
    }
}

impl Found {
    fn differs_in_entries_only(&self, expected: &Shape) -> bool {
        match self {
            Self::Map(found) => {
                Shape {
                    max_entries: expected.max_entries,
                    ..*found
                } == *expected
            }
            Self::NotAMap => false,
        }
    }
}

/// What the data plane has written of flows, clients and sockets can't be had again from anywhere; all else the agent writes
/// anew. Records of fragments are over before anybody misses them.
fn is_irreplaceable(name: &str) -> bool {
    [
        name::FLOWS_V4,
        name::FLOWS_V6,
        name::CONNTRACK_V4,
        name::CONNTRACK_V6,
        name::TRANSIENT_V4,
        name::TRANSIENT_V6,
        name::AFFINITY_V4,
        name::AFFINITY_V6,
        name::SOCKET_PEERS,
        name::SOCKET_AFFINITY,
    ]
    .contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        kind: 9,
        key_size: 16,
        value_size: 36,
        max_entries: 100,
        flags: 0,
    };

    #[test]
    fn only_another_size_lets_entries_be_kept() {
        for (found, expected) in [
            (
                Found::Map(Shape {
                    max_entries: 50,
                    ..SHAPE
                }),
                true,
            ),
            (
                Found::Map(Shape {
                    key_size: 8,
                    max_entries: 50,
                    ..SHAPE
                }),
                false,
            ),
            (
                Found::Map(Shape {
                    value_size: 8,
                    ..SHAPE
                }),
                false,
            ),
            (Found::Map(Shape { kind: 1, ..SHAPE }), false),
            (Found::Map(Shape { flags: 2, ..SHAPE }), false),
            (Found::NotAMap, false),
        ] {
            assert_eq!(found.differs_in_entries_only(&SHAPE), expected, "{found}");
        }
    }

    #[test]
    fn the_documents_name_the_folder_of_this_layout() {
        let folder = format!("/sys/fs/bpf/lb/v{}", lb_common::layout::LAYOUT);
        for text in [
            include_str!("../../../README.md"),
            include_str!("../../../docs/redirect.md"),
        ] {
            let named = text.matches("/sys/fs/bpf/lb/v").count();
            assert!(
                named > 0 && named == text.matches(&folder).count(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_refused_pin_is_named_with_the_remedy() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = PinError::new("open the pin", Path::new("/sys/fs/bpf/lb/v1/slots"), denied);
        let text = error.to_string();
        assert!(
            text.contains("/sys/fs/bpf/lb/v1/slots") && text.contains("root"),
            "{text}"
        );
    }
}
