//! Programs inside a namespace: how they are started, with which mounts, and how they are sure to end. Servers of this
//! process's own threads are in `server`.

mod kill;
mod mount_plan;
mod privileges;
mod running;
mod spawner;

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;
use crate::sandbox::Sandbox;
use mount_plan::MountPlan;
use privileges::Privileges;

pub(crate) use kill::kill_inside;
pub use running::Process;

/// Like [`std::process::Command`], for a program inside a namespace.
///
/// The program gets its own mount namespace: a copy of the sandbox's, `/sys` and bpffs included, plus the mounts asked
/// for here, which no other program sees. One `Command` starts one program. In a private sandbox it also gets a `/proc` of the lab's PID namespace, and it
/// and all its descendants, daemons included, die with this process. In a kept sandbox it runs in its own session and
/// lives on; then give it files for its output.
#[derive(Debug)]
pub struct Command {
    netns: Netns,
    inner: std::process::Command,
    mounts: Vec<Mount>,
    directory: Option<PathBuf>,
    cgroup: Option<PathBuf>,
    privileges: Privileges,
    started: bool,
}

#[derive(Debug)]
enum Mount {
    Bind {
        from: PathBuf,
        at: PathBuf,
        read_only: bool,
    },
    File {
        at: PathBuf,
        contents: Vec<u8>,
    },
    Directory {
        at: PathBuf,
    },
    ReadOnly {
        at: PathBuf,
    },
}

/// Where a program could write but for what is shown to it. `/proc`, `/sys` and `/dev` are the kernel's to guard.
const WRITABLE: [&str; 4] = ["/", "/run", "/tmp", "/dev/shm"];

impl Command {
    pub(crate) fn new(netns: &Netns, program: &str) -> Command {
        Command {
            netns: netns.clone(),
            inner: std::process::Command::new(program),
            mounts: Vec::new(),
            directory: None,
            cgroup: None,
            privileges: Privileges::default(),
            started: false,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.inner.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.inner.env(key, value);
        self
    }

    /// Lets it inherit no variable of this process; those set with [`Command::env`] after this remain.
    pub fn env_clear(&mut self) -> &mut Self {
        self.inner.env_clear();
        self
    }

    /// Sets the working directory, as the program sees it with its mounts.
    pub fn current_dir(&mut self, directory: impl Into<PathBuf>) -> &mut Self {
        self.directory = Some(directory.into());
        self
    }

    /// Where stdin comes from.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.inner.stdin(stdin);
        self
    }

    /// Where stdout goes.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.inner.stdout(stdout);
        self
    }

    /// Where stderr goes.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.inner.stderr(stderr);
        self
    }

    /// Runs the program with this user and group, and no other group.
    pub fn user(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.privileges.user = Some((uid, gid));
        self
    }

    /// Leaves it no capability but these: bit N stands for number N of `linux/capability.h`. As a container runtime does it:
    /// root has them in its bounding, permitted and effective sets, another user in the bounding set only, and nobody has
    /// any in the inheritable and ambient sets. What this process lacks it cannot give.
    pub fn capabilities(&mut self, set: u64) -> &mut Self {
        self.privileges.capabilities = Some(set);
        self
    }

    /// Forbids it to get privileges from a file that it executes.
    pub fn no_new_privileges(&mut self) -> &mut Self {
        self.privileges.no_new = true;
        self
    }

    /// Shows the file or directory `from` at the existing path `at`, to this program alone, with the mounts below it.
    pub fn bind(&mut self, from: impl Into<PathBuf>, at: impl Into<PathBuf>) -> &mut Self {
        self.push_bind(from.into(), at.into(), false)
    }

    /// As [`Command::bind`], but nothing can be written through it; mounts below it stay writable.
    pub fn bind_read_only(
        &mut self,
        from: impl Into<PathBuf>,
        at: impl Into<PathBuf>,
    ) -> &mut Self {
        self.push_bind(from.into(), at.into(), true)
    }

    /// Shows a read-write file with `contents` at the existing path `at`, to this program alone.
    pub fn private_file(
        &mut self,
        at: impl Into<PathBuf>,
        contents: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.mounts.push(Mount::File {
            at: at.into(),
            contents: contents.into(),
        });
        self
    }

    /// Shows an empty tmpfs (mode 0777) at the existing directory `at`, to this program alone. In a private sandbox a
    /// missing path below `/run` is made.
    pub fn private_dir(&mut self, at: impl Into<PathBuf>) -> &mut Self {
        self.mounts.push(Mount::Directory { at: at.into() });
        self
    }

    /// Lets it write to no file of this machine. What other calls of this `Command` show to it after this stays as they say.
    pub fn read_only_root(&mut self) -> &mut Self {
        let mounted = WRITABLE.iter().filter(|path| is_mount_point(path.as_ref()));
        self.mounts.extend(mounted.map(|path| Mount::ReadOnly {
            at: PathBuf::from(path),
        }));
        self
    }

    /// Starts it in this control group, one of [`Cgroup`](crate::Cgroup)'s; otherwise it is in the one that this process is in.
    pub fn cgroup(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.cgroup = Some(path.into());
        self
    }

    /// `/etc/resolv.conf` for this program: its name server, and `search` domains if any.
    pub fn resolver(&mut self, server: std::net::IpAddr, search: &[&str]) -> &mut Self {
        let mut text = format!("nameserver {server}\noptions timeout:2 attempts:2\n");
        if !search.is_empty() {
            text += &format!("search {}\n", search.join(" "));
        }
        self.private_file("/etc/resolv.conf", text)
    }

    /// Starts the program.
    ///
    /// # Errors
    /// When the program is missing or a mount is impossible.
    pub fn spawn(&mut self) -> Result<Process> {
        let child = self.start()?;
        Ok(Process {
            child: Some(child),
            kept: self.netns.is_kept(),
        })
    }

    /// Runs the program to its end and returns what it printed; stdin is empty unless set.
    ///
    /// # Errors
    /// As [`Command::spawn`]. A program that fails is no error: look at the status.
    pub fn output(&mut self) -> Result<Output> {
        self.inner.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(self.start()?.wait_with_output()?)
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn status(&mut self) -> Result<ExitStatus> {
        Ok(self.start()?.wait()?)
    }

    fn push_bind(&mut self, from: PathBuf, at: PathBuf, read_only: bool) -> &mut Self {
        self.mounts.push(Mount::Bind {
            from,
            at,
            read_only,
        });
        self
    }

    fn start(&mut self) -> Result<Child> {
        ensure!(
            !self.started,
            "this Command has started its program: make another one"
        );
        self.started = true;
        let sandbox = Sandbox::current()?;
        let program = self.inner.get_program().to_string_lossy().into_owned();
        let plan = MountPlan::new(sandbox, &self.mounts)
            .with_context(|| format!("mounts of {program}"))?;
        let entrance = Entrance {
            netns: self.netns.as_fd().try_clone_to_owned()?,
            new_session: !sandbox.is_private(),
            plan,
            cgroup: self.cgroup.as_deref().map(threads_of).transpose()?,
            directory: self
                .directory
                .take()
                .map(|path| CString::new(path.into_os_string().into_vec()))
                .transpose()?,
            privileges: self.privileges,
        };
        let mut command = std::mem::replace(&mut self.inner, std::process::Command::new(&program));
        // SAFETY: between fork and exec the closure makes system calls only, on strings made before: it neither
        // allocates nor takes a lock.
        unsafe { command.pre_exec(move || entrance.enter()) };
        let child = if sandbox.is_private() {
            spawner::spawn(command)?
        } else {
            command.spawn()
        };
        child.with_context(|| format!("cannot start {program} in {}", self.netns.name()))
    }
}

/// What a child does to itself between fork and exec. The standard library would change user and directory before it
/// runs anything of ours, so this does both, last: mounts need root, and the directory may be one of them.
struct Entrance {
    netns: OwnedFd,
    new_session: bool,
    plan: MountPlan,
    /// Whoever writes to this file enters the group.
    cgroup: Option<OwnedFd>,
    directory: Option<CString>,
    privileges: Privileges,
}

impl Entrance {
    /// System calls only: no allocation, no lock.
    fn enter(&self) -> io::Result<()> {
        if let Some(threads) = &self.cgroup {
            // SAFETY: an open descriptor and a constant string of one octet.
            let written = unsafe { libc::write(threads.as_raw_fd(), c"0".as_ptr().cast(), 1) };
            check(written as libc::c_int)?;
        }
        // SAFETY: system calls on an open descriptor and on the child itself, which has one thread.
        check(unsafe { libc::setns(self.netns.as_raw_fd(), libc::CLONE_NEWNET) })?;
        // SAFETY: as above.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        if self.new_session {
            // SAFETY: a system call without arguments.
            check(unsafe { libc::setsid() })?;
        }
        self.plan.apply()?;
        if let Some(directory) = &self.directory {
            // SAFETY: a NUL-terminated string that lives through the call.
            check(unsafe { libc::chdir(directory.as_ptr()) })?;
        }
        self.privileges.apply()
    }
}

/// The file of a control group that takes threads: the child has one, and the group may be a threaded one.
fn threads_of(cgroup: &Path) -> Result<OwnedFd> {
    let path = cgroup.join("cgroup.threads");
    let file = File::options().write(true).open(&path);
    let file = file.with_context(|| format!("{} is no control group", cgroup.display()))?;
    Ok(file.into())
}

fn is_mount_point(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    match path.parent() {
        None => true,
        Some(parent) => device(path).is_some_and(|own| Some(own) != device(parent)),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
