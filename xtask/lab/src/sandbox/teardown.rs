//! Removing a kept lab by its prefix. It touches only namespaces with that prefix, processes inside them, and the
//! directory that belongs to the prefix.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::NETNS_DIRECTORY;
use crate::{netns, process};

/// What [`Sandbox::teardown`](crate::Sandbox::teardown) removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Teardown {
    /// Names of the deleted namespaces, prefix included, sorted.
    pub namespaces: Vec<String>,
    /// How many processes were killed.
    pub processes: usize,
}

pub(super) fn teardown(prefix: &str, directory: &Path) -> Result<Teardown> {
    // A lab's directory is made before its first namespace: without one, names like these are somebody else's.
    if !directory.exists() {
        return Ok(Teardown::default());
    }
    let mut torn = Teardown {
        namespaces: namespaces(prefix)?,
        processes: 0,
    };
    for name in &torn.namespaces {
        let path = Path::new(NETNS_DIRECTORY).join(name);
        torn.processes += process::kill_inside(&path)?;
        netns::remove_name(&path)?;
    }
    // Only an empty one goes, as it was before the first named namespace.
    let _ = fs::remove_dir(NETNS_DIRECTORY);
    let bpffs = directory.join("bpf");
    match umount2(&bpffs, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot unmount {}", bpffs.display()));
        }
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(torn),
    }
}

/// The named namespaces whose names begin with `prefix`, sorted.
pub(super) fn namespaces(prefix: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(NETNS_DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(NETNS_DIRECTORY),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
