//! Takes everything off this machine that an agent of any version put there: links, filters, pins, folders.
//!
//! It touches nothing else: foreign programs, filters and pins stay, and so does the clsact queueing discipline, which is
//! idle without filters. It needs no BPF object and no pin of its own version, and is refused while an agent runs, and where
//! that can't be told.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use thiserror::Error;

use super::{
    links::{Filters, Side},
    lock::{Lock, LockError},
    pins::{self, PinError, PinPaths},
};

/// What was removed and what was not.
#[derive(Debug, Default, serde::Serialize)]
pub struct Cleanup {
    /// Pins, those of links first.
    pub pins: Vec<PathBuf>,
    /// Filters by the ifindex of their device.
    pub filters: Vec<(u32, Side)>,
    /// Folders.
    pub folders: Vec<PathBuf>,
    /// Things in our folders that are no pins of ours, and the folders that they keep.
    pub left: Vec<PathBuf>,
}

impl Cleanup {
    /// Whether nothing was there.
    pub fn removed_nothing(&self) -> bool {
        self.pins.is_empty() && self.filters.is_empty() && self.folders.is_empty()
    }
}

impl fmt::Display for Cleanup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.removed_nothing() {
            writeln!(f, "nothing to remove")?;
        }
        for path in self.pins.iter().chain(&self.folders) {
            writeln!(f, "removed {}", path.display())?;
        }
        for (ifindex, side) in &self.filters {
            writeln!(
                f,
                "removed the {} filter of the device with ifindex {ifindex}",
                side.name()
            )?;
        }
        for path in &self.left {
            writeln!(f, "left {}, which is not ours", path.display())?;
        }
        Ok(())
    }
}

/// Something is left that should be gone.
#[derive(Debug, Error)]
pub enum CleanupError {
    /// An agent runs, or nobody can tell.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Where an agent would have its pins, and with them its lock, there can be none.
    #[error(
        "{path} is no BPF file system, so nobody can tell whether an agent runs, and nothing was removed: name the agent's with --bpffs, or mount one there (mount -t bpf bpf {path})",
        path = .0.display()
    )]
    NoBpffs(PathBuf),
    /// A pin or folder.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The filters.
    #[error("cannot remove filters from the devices of this network namespace")]
    Filters(#[source] io::Error),
}

/// Removes all of it, from the network namespace of the calling thread and the given BPF file system. A second time it
/// finds nothing.
///
/// # Errors
/// If an agent runs; nothing is removed then. Else for the first thing that can't be removed; what comes before it is
/// gone.
pub fn cleanup(paths: &PinPaths) -> Result<Cleanup, CleanupError> {
    // Filters have no pins. Those of an agent that works with another folder must not be taken for left behind.
    let is_bpffs = statfs(paths.bpffs()).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    if !is_bpffs {
        return Err(CleanupError::NoBpffs(paths.bpffs().into()));
    }
    let lock = Lock::take(paths)?;
    let mut done = Cleanup::default();
    // A link's pin takes the program off its device. Only then the maps: a program without its flows would harm.
    let layouts = pins::layouts(paths)?;
    for (_, layout) in &layouts {
        let links = layout.join("links");
        remove_pins(&links, pins::remove_link, &mut done)?;
        remove_folder(&links, &mut done)?;
    }
    remove_filters(&mut done).map_err(CleanupError::Filters)?;
    for (_, layout) in &layouts {
        remove_pins(layout, pins::remove, &mut done)?;
        remove_folder(layout, &mut done)?;
    }
    // The lock is on this folder: nothing may be removed once another process can have one in its place.
    remove_folder(&paths.folder(), &mut done)?;
    if lock.made_folder() {
        done.folders.retain(|folder| *folder != paths.folder());
    }
    Ok(done)
}

fn remove_pins(
    folder: &Path,
    remove: fn(&Path) -> Result<bool, PinError>,
    done: &mut Cleanup,
) -> Result<(), PinError> {
    let failed = |error| PinError::new("read the folder", folder, error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            continue;
        }
        if remove(&path)? {
            done.pins.push(path);
        }
    }
    Ok(())
}

fn remove_folder(folder: &Path, done: &mut Cleanup) -> Result<(), PinError> {
    match fs::remove_dir(folder) {
        Ok(()) => done.folders.push(folder.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            let entries = fs::read_dir(folder)
                .map_err(|error| PinError::new("read the folder", folder, error))?;
            done.left
                .extend(entries.flatten().map(|entry| entry.path()));
        }
        Err(error) => return Err(PinError::new("remove the folder", folder, error)),
    }
    Ok(())
}

fn remove_filters(done: &mut Cleanup) -> io::Result<()> {
    let filters = Filters::open()?;
    for (ifindex, side) in filters.held()? {
        if filters.remove(ifindex, side)? > 0 {
            done.filters.push((ifindex, side));
        }
    }
    Ok(())
}
