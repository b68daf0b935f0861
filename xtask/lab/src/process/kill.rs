//! Ending the processes inside a network namespace. A process counts by its first thread's namespace, so this process,
//! whose threads visit namespaces, never does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait::wait_until;

/// Kills every process inside the namespace mounted at `path` and waits until none is left. Returns how many it killed.
pub(crate) fn kill_inside(path: &Path) -> Result<usize> {
    let meta = fs::metadata(path).with_context(|| path.display().to_string())?;
    let namespace = (meta.dev(), meta.ino());
    let mut killed = BTreeSet::new();
    let what = format!("the processes in {} to die", path.display());
    wait_until(&what, Duration::from_secs(5), || {
        // Once more after each round: a process may have forked meanwhile.
        let inside = processes_inside(namespace);
        killed.extend(
            inside
                .iter()
                .copied()
                .filter(|&process| kill(process, namespace)),
        );
        inside.is_empty()
    })?;
    Ok(killed.len())
}

fn processes_inside(namespace: (u64, u64)) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id() as i32;
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&process| process != own && is_inside(process, namespace))
        .collect()
}

/// A process that has ended but was not waited for has no namespaces any more.
fn is_inside(process: i32, namespace: (u64, u64)) -> bool {
    fs::metadata(format!("/proc/{process}/ns/net"))
        .is_ok_and(|meta| (meta.dev(), meta.ino()) == namespace)
}

/// Through a descriptor, and looking again after taking it: the number may be another process's by now.
fn kill(process: i32, namespace: (u64, u64)) -> bool {
    let Ok(handle) = pidfd(process) else {
        return false;
    };
    if !is_inside(process, namespace) {
        return false;
    }
    // SAFETY: a plain system call on an open descriptor; the siginfo pointer may be null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            handle.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<u8>(),
            0,
        )
    };
    result == 0
}

fn pidfd(process: i32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}
