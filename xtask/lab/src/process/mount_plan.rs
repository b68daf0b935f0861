//! The mounts of one program, worked out before the fork, made after it. Nothing in the second half may allocate.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use libc::{
    MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, c_ulong,
};

use super::Mount;
use crate::sandbox::Sandbox;

const NO_TREE: i32 = -1;

/// Mount calls in order. What is to be shown somewhere is taken hold of before any of them covers it.
pub(super) struct MountPlan {
    base: Vec<Call>,
    calls: Vec<Call>,
}

struct Call {
    source: CString,
    target: CString,
    kind: CString,
    flags: c_ulong,
    data: CString,
    /// A bind mount's source, once it has been taken hold of; it is closed when the program is executed.
    tree: AtomicI32,
}

impl MountPlan {
    pub(super) fn new(sandbox: &Sandbox, mounts: &[Mount]) -> Result<MountPlan> {
        let mut base = vec![Call::new(
            "none".as_ref(),
            "/".as_ref(),
            "none",
            MS_REC | MS_PRIVATE,
            "",
        )?];
        if sandbox.is_private() {
            let flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
            base.push(Call::new(
                "proc".as_ref(),
                "/proc".as_ref(),
                "proc",
                flags,
                "",
            )?);
        }
        let mut calls = Vec::new();
        for mount in mounts {
            match mount {
                Mount::Bind {
                    from,
                    at,
                    read_only,
                } => {
                    let directory = fs::metadata(from)
                        .with_context(|| from.display().to_string())?
                        .is_dir();
                    let target = mount_point(sandbox, at, directory)?;
                    calls.push(Call::new(from, &target, "none", MS_BIND | MS_REC, "")?);
                    if *read_only {
                        // Only a second call can change the flags of a bind mount.
                        let flags = MS_BIND | MS_REMOUNT | MS_RDONLY;
                        calls.push(Call::new(from, &target, "none", flags, "")?);
                    }
                }
                Mount::File { at, contents } => {
                    let file = write_file(sandbox, contents)?;
                    let target = mount_point(sandbox, at, false)?;
                    calls.push(Call::new(&file, &target, "none", MS_BIND, "")?);
                }
                Mount::ReadOnly { at } => {
                    let flags = MS_BIND | MS_REMOUNT | MS_RDONLY;
                    calls.push(Call::new("none".as_ref(), at, "none", flags, "")?);
                }
                Mount::Directory { at } => {
                    let target = mount_point(sandbox, at, true)?;
                    let flags = MS_NOSUID | MS_NODEV;
                    calls.push(Call::new(
                        "lab".as_ref(),
                        &target,
                        "tmpfs",
                        flags,
                        "mode=0777",
                    )?);
                }
            }
        }
        Ok(MountPlan { base, calls })
    }

    /// Makes the mounts in the calling process. Safe between fork and exec.
    pub(super) fn apply(&self) -> io::Result<()> {
        self.base.iter().try_for_each(Call::make)?;
        self.calls.iter().try_for_each(Call::take_source)?;
        self.calls.iter().try_for_each(Call::make)
    }
}

impl Call {
    fn new(source: &Path, target: &Path, kind: &str, flags: c_ulong, data: &str) -> Result<Call> {
        Ok(Call {
            source: CString::new(source.as_os_str().as_bytes())?,
            target: CString::new(target.as_os_str().as_bytes())?,
            kind: CString::new(kind)?,
            flags,
            data: CString::new(data)?,
            tree: AtomicI32::new(NO_TREE),
        })
    }

    fn take_source(&self) -> io::Result<()> {
        if self.flags & !MS_REC != MS_BIND {
            return Ok(());
        }
        let recursive = if self.flags & MS_REC == 0 {
            0
        } else {
            libc::AT_RECURSIVE as u32
        };
        let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | recursive;
        let source = self.source.as_ptr();
        // SAFETY: a NUL-terminated string that lives as long as `self`.
        let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source, flags) };
        if tree < 0 {
            return Err(io::Error::last_os_error());
        }
        self.tree.store(tree as i32, Ordering::Relaxed);
        Ok(())
    }

    fn make(&self) -> io::Result<()> {
        let tree = self.tree.load(Ordering::Relaxed);
        let result = if tree == NO_TREE {
            let data = if self.data.is_empty() {
                ptr::null()
            } else {
                self.data.as_ptr()
            };
            // SAFETY: all pointers are to NUL-terminated strings that live as long as `self`.
            let result = unsafe {
                libc::mount(
                    self.source.as_ptr(),
                    self.target.as_ptr(),
                    self.kind.as_ptr(),
                    self.flags,
                    data.cast(),
                )
            };
            libc::c_long::from(result)
        } else {
            // SAFETY: as above, and the descriptor is open.
            unsafe {
                libc::syscall(
                    libc::SYS_move_mount,
                    tree,
                    c"".as_ptr(),
                    libc::AT_FDCWD,
                    self.target.as_ptr(),
                    libc::MOVE_MOUNT_F_EMPTY_PATH,
                )
            }
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Contents of a private file, kept in the sandbox's directory.
fn write_file(sandbox: &Sandbox, contents: &[u8]) -> Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let directory = sandbox.directory().join("files");
    fs::create_dir_all(&directory)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!("{}-{number}", std::process::id()));
    fs::write(&path, contents).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// `at` with symbolic links followed. Missing below a private sandbox's own `/run`, it is made: `/etc/resolv.conf` is a
/// link into `/run` on many machines, and daemons want their `/run/NAME`.
fn mount_point(sandbox: &Sandbox, at: &Path, directory: bool) -> Result<PathBuf> {
    let target = follow(at);
    if !target.exists() && sandbox.is_private() && target.starts_with("/run") {
        if directory {
            fs::create_dir_all(&target)?;
        } else {
            fs::create_dir_all(target.parent().unwrap_or(&target))?;
            fs::write(&target, "")?;
        }
    }
    match fs::metadata(&target) {
        Ok(found) if found.is_dir() == directory => Ok(target),
        Ok(_) => bail!(
            "{} is a directory or a file where the other is needed",
            at.display()
        ),
        Err(_) => bail!(
            "{} does not exist, and a mount needs something to cover: create it first",
            at.display()
        ),
    }
}

/// Follows links by hand, since the last one may lead to what is yet to be made.
fn follow(at: &Path) -> PathBuf {
    let mut path = at.to_path_buf();
    for _ in 0..8 {
        let Ok(link) = fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("/")).join(link);
    }
    normalise(&path)
}

/// Resolves `..` in text; the kernel would refuse a path through a missing directory.
fn normalise(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    match clean.strip_prefix("/var/run") {
        Ok(rest) if !clean.exists() => Path::new("/run").join(rest),
        _ => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_link_out_of_etc_leads_below_run() {
        let path = normalise(Path::new("/etc/../run/systemd/resolve/stub-resolv.conf"));
        assert_eq!(path, Path::new("/run/systemd/resolve/stub-resolv.conf"));
    }
}
