//! A container as a program of this machine: its mounts, its variables, its privileges, its end. Whether it is started
//! again is `worker`'s business.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use lab::{Command, Netns, Process};
use tokio::io::unix::AsyncFd;

use super::environment::Variables;
use super::security::Security;
use super::volumes::Mount;

/// Where the machine's own file systems of these kinds must not be seen, whatever a container may do.
const HIDDEN: [&str; 2] = ["/sys/fs/bpf", "/sys/fs/cgroup"];

/// All that the programs of one container have in common: the container itself, and what is executed in it.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub netns: Netns,
    pub variables: Variables,
    pub mounts: Vec<Mount>,
    pub security: Security,
    pub directory: PathBuf,
    /// The node's control group, where it has one.
    pub cgroup: Option<PathBuf>,
    pub resolver: Option<(std::net::IpAddr, Vec<String>)>,
    pub log: PathBuf,
}

impl Surroundings {
    /// A program in these surroundings, not yet started.
    pub fn command(&self, program: &str, arguments: &[String]) -> Command {
        let mut command = self.netns.command(program);
        command
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .env_clear()
            .current_dir(&self.directory);
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        if self.security.read_only_root {
            command.read_only_root();
        }
        if let Some(cgroup) = &self.cgroup {
            command.cgroup(cgroup);
        }
        if !self.security.is_privileged() {
            for path in ["/sys", "/proc/sys"] {
                command.bind_read_only(path, path);
            }
        }
        for path in HIDDEN.map(Path::new) {
            let shown = |mount: &Mount| path.starts_with(&mount.at) || mount.at.starts_with(path);
            if path.exists() && !self.mounts.iter().any(shown) {
                command.private_dir(path);
            }
        }
        if let Some((server, search)) = &self.resolver {
            let search: Vec<&str> = search.iter().map(String::as_str).collect();
            command.resolver(*server, &search);
        }
        for mount in &self.mounts {
            if mount.read_only {
                command.bind_read_only(&mount.from, &mount.at);
            } else {
                command.bind(&mount.from, &mount.at);
            }
        }
        if let Some(set) = self.security.capabilities {
            command.capabilities(set);
        }
        if let Some((uid, gid)) = self.security.user {
            command.user(uid, gid);
        }
        if !self.security.escalation {
            command.no_new_privileges();
        }
        command
    }

    /// Starts the container's own program; its output goes to the end of the log. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When the program is missing or a mount is impossible.
    pub fn spawn(&self, program: &str, arguments: &[String]) -> Result<Spawned> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| self.log.display().to_string())?;
        let mut command = self.command(program, arguments);
        let process = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        let id = process.id();
        Ok(Spawned {
            process,
            ended: pidfd(id).context("pidfd_open of a container")?,
            mounts: Mounts::of(id),
        })
    }
}

/// A program that has just been started.
#[derive(Debug)]
pub(super) struct Spawned {
    process: Process,
    ended: OwnedFd,
    mounts: Option<Mounts>,
}

/// The mount namespace of a container. Held open, so that its number is no other's.
#[derive(Debug)]
struct Mounts(File);

/// A container's program.
#[derive(Debug)]
pub(super) struct Child {
    process: Mutex<Process>,
    ended: AsyncFd<OwnedFd>,
    /// All processes of the container have this mount namespace, and no other process has.
    mounts: Option<Mounts>,
}

impl Child {
    /// Takes a started program into the calling task's runtime.
    ///
    /// # Errors
    /// When the runtime is short of descriptors.
    pub fn new(spawned: Spawned) -> io::Result<Child> {
        let readable = tokio::io::Interest::READABLE;
        // SAFETY: an owned descriptor stays the same one, and open, until it is dropped with the registration.
        let ended = unsafe { AsyncFd::register_with_interest(spawned.ended, readable)? };
        Ok(Child {
            process: Mutex::new(spawned.process),
            ended,
            mounts: spawned.mounts,
        })
    }

    /// Sends a signal. One that has ended does not get it.
    pub fn signal(&self, signal: i32) {
        let mut process = self.lock();
        // Its number may be another's once it has been waited for.
        if matches!(process.try_wait(), Ok(None)) {
            // Fails only when it has ended since.
            let _ = process.signal(signal);
        }
    }

    /// Waits for the program's end, ends what it has left behind, and returns its exit code: 128 and the signal where a
    /// signal ended it.
    pub async fn wait(&self) -> i32 {
        // A descriptor that cannot be waited for is ready at once; then its end is waited for in another way.
        let _ = self.ended.readable().await;
        let status = self.lock().wait();
        if let Some(mounts) = &self.mounts {
            mounts.kill_all();
        }
        match status {
            Ok(status) => status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            Err(_) => 255,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        if let Some(mounts) = &self.mounts {
            mounts.kill_all();
        }
    }
}

impl Mounts {
    /// None for a process that has ended already.
    fn of(process: u32) -> Option<Mounts> {
        let file = File::open(namespace_path(process)).ok().map(Mounts)?;
        // It has not left the lab's namespace: then it is not the container's own.
        (!file.are_of(std::process::id())).then_some(file)
    }

    fn are_of(&self, process: u32) -> bool {
        match (fs::metadata(namespace_path(process)), self.0.metadata()) {
            (Ok(its), Ok(own)) => (its.dev(), its.ino()) == (own.dev(), own.ino()),
            _ => false,
        }
    }

    fn kill_all(&self) {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for id in ids.filter(|id| self.are_of(*id)) {
            let Ok(process) = pidfd(id) else { continue };
            // The number may be another process's by now, which the descriptor holds fast.
            if !self.are_of(id) {
                continue;
            }
            // SAFETY: a plain system call on an open descriptor; the siginfo pointer may be null.
            unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    process.as_raw_fd(),
                    libc::SIGKILL,
                    std::ptr::null::<u8>(),
                    0,
                )
            };
        }
    }
}

fn namespace_path(process: u32) -> String {
    format!("/proc/{process}/ns/mnt")
}

fn pidfd(process: u32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}
