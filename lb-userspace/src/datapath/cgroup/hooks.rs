//! The links of the programs to a cgroup: attached, replaced in place, detached.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use serde::Serialize;
use thiserror::Error;

use super::{Hook, SocketPrograms};
use crate::datapath::{
    bpf::{self, CgroupLink, ObjectKind},
    pins::{self, PinError, PinPaths},
};

/// A program can't be attached to a cgroup or taken off it.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// The cgroup.
    #[error("cannot open the cgroup {path}: does it exist, and is it of cgroup v2?", path = .path.display())]
    Open {
        /// Its folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A pin stands in the way.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The kernel refused.
    #[error("cannot {action} the program {program} at the cgroup {path}", path = .path.display())]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// Name of the program.
        program: &'static str,
        /// The folder of the cgroup.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The programs, and the cgroup that they belong at.
#[derive(Debug)]
pub struct Hooks {
    programs: SocketPrograms,
    cgroup: PathBuf,
    paths: PinPaths,
}

impl Hooks {
    /// Attaches nothing yet.
    pub(super) fn new(programs: SocketPrograms, cgroup: PathBuf, paths: PinPaths) -> Self {
        Self {
            programs,
            cgroup,
            paths,
        }
    }

    /// The folder of the cgroup.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Sees to it that the cgroup has the programs, each exactly once: adds them, or replaces in place what an earlier
    /// agent left. Programs of other layouts are taken off it then, for they would be asked first and answer from tables
    /// that nobody writes any more.
    ///
    /// # Errors
    /// If one can't be attached. None is attached then.
    pub fn attach(&self) -> Result<(), CgroupError> {
        let opened = fs::File::open(&self.cgroup)
            .and_then(|file| Ok((file.metadata()?.ino(), OwnedFd::from(file))));
        let (cgroup_id, cgroup) = opened.map_err(|source| CgroupError::Open {
            path: self.cgroup.clone(),
            source,
        })?;
        for hook in Hook::ALL {
            if let Err(error) = self.attach_one(hook, &cgroup, cgroup_id) {
                // Half of them would lose answers that processes wait for.
                detach(&self.paths)?;
                return Err(error);
            }
        }
        detach_others(&self.paths)?;
        Ok(())
    }

    /// Whether each program is still where it was attached: a link can be detached by anybody who may attach one.
    pub fn are_attached(&self) -> bool {
        attached_hooks(&self.paths).is_ok_and(|found| found.attached == Hook::ALL.len())
    }

    fn attach_one(&self, hook: Hook, cgroup: &OwnedFd, cgroup_id: u64) -> Result<(), CgroupError> {
        let failed = |action| {
            move |source| CgroupError::Kernel {
                action,
                program: hook.program(),
                path: self.cgroup.clone(),
                source,
            }
        };
        let program = self.programs.of(hook);
        let pin = self.paths.links().join(hook.pin());
        let at = CgroupLink {
            cgroup_id,
            attach_type: hook.attach_type(),
        };
        if let Some(link) = open(&pin)? {
            if held(&link).map_err(failed("inspect the link of"))? == Some(at) {
                return bpf::link_update(link.as_fd(), program).map_err(failed("replace"));
            }
            pins::remove_link(&pin)?;
        }
        let link = bpf::cgroup_link_create(program, cgroup.as_fd(), at.attach_type)
            .map_err(failed("attach"))?;
        // Until it is pinned the link lives as long as this descriptor: a failure here leaves nothing behind.
        bpf::pin(link.as_fd(), &pin).map_err(|error| PinError::new("make the pin", &pin, error))?;
        Ok(())
    }
}

/// How many of the hooks have a program.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
pub struct AttachedHooks {
    /// Hooks that have one.
    pub attached: usize,
    /// Hooks that there are.
    pub of: usize,
}

impl Default for AttachedHooks {
    fn default() -> Self {
        Self {
            attached: 0,
            of: Hook::ALL.len(),
        }
    }
}

/// What the pins say of the hooks, for tools: it needs no agent.
///
/// # Errors
/// If a pin can't be opened.
pub fn attached_hooks(paths: &PinPaths) -> Result<AttachedHooks, PinError> {
    let mut found = AttachedHooks::default();
    for hook in Hook::ALL {
        let pin = paths.links().join(hook.pin());
        let Some(link) = open(&pin)? else { continue };
        let at = held(&link).map_err(|error| PinError::new("inspect the link at", &pin, error))?;
        found.attached += usize::from(at.is_some_and(|at| at.cgroup_id != 0));
    }
    Ok(found)
}

/// Takes the programs of this layout off their cgroup. Returns how many there were.
///
/// # Errors
/// If one is left.
pub(super) fn detach(paths: &PinPaths) -> Result<usize, PinError> {
    let mut removed = 0;
    for hook in Hook::ALL.into_iter().rev() {
        removed += usize::from(pins::remove_link(&paths.links().join(hook.pin()))?);
    }
    Ok(removed)
}

/// Takes the programs of other layouts off their cgroup: they answer from tables that nobody writes while this agent runs.
/// Returns how many there were.
///
/// # Errors
/// If one is left.
pub(super) fn detach_others(paths: &PinPaths) -> Result<usize, PinError> {
    let mut removed = 0;
    for links in pins::links_of_other_layouts(paths)? {
        let Ok(entries) = fs::read_dir(links) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(Hook::is_pin) {
                removed += usize::from(pins::remove_link(&entry.path())?);
            }
        }
    }
    Ok(removed)
}

fn open(pin: &Path) -> Result<Option<OwnedFd>, PinError> {
    match bpf::get(pin) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PinError::new("open the pin", pin, error)),
    }
}

/// Where a link is attached, none if it is no link to a cgroup.
fn held(link: &OwnedFd) -> io::Result<Option<CgroupLink>> {
    if bpf::kind(link.as_fd())? != ObjectKind::Link {
        return Ok(None);
    }
    bpf::cgroup_link(link.as_fd())
}
