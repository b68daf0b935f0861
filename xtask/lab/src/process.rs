//! Programs inside a namespace: how they are started, with which mounts, and how they are sure to end. Servers of this
//! process's own threads are in `server`.

mod kill;
mod mount_plan;
mod spawner;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;
use crate::sandbox::Sandbox;
use mount_plan::MountPlan;

pub(crate) use kill::kill_inside;

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
    started: bool,
}

#[derive(Debug)]
enum Mount {
    Bind { from: PathBuf, at: PathBuf },
    File { at: PathBuf, contents: Vec<u8> },
    Directory { at: PathBuf },
}

impl Command {
    pub(crate) fn new(netns: &Netns, program: &str) -> Command {
        Command {
            netns: netns.clone(),
            inner: std::process::Command::new(program),
            mounts: Vec::new(),
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

    /// Sets the working directory.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.inner.current_dir(directory);
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

    /// Runs the program with this user and group.
    pub fn user(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.inner.uid(uid).gid(gid);
        self
    }

    /// Shows the file or directory `from` at the existing path `at`, to this program alone.
    pub fn bind(&mut self, from: impl Into<PathBuf>, at: impl Into<PathBuf>) -> &mut Self {
        self.mounts.push(Mount::Bind {
            from: from.into(),
            at: at.into(),
        });
        self
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
        let netns = self.netns.as_fd().try_clone_to_owned()?;
        let private = sandbox.is_private();
        let mut command = std::mem::replace(&mut self.inner, std::process::Command::new(&program));
        let prepare = move || -> io::Result<()> {
            // SAFETY: system calls on an open descriptor and on the child itself, which has one thread.
            let done = unsafe {
                libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) == 0
                    && libc::unshare(libc::CLONE_NEWNS) == 0
                    && (private || libc::setsid() >= 0)
            };
            if !done {
                return Err(io::Error::last_os_error());
            }
            plan.apply()
        };
        // SAFETY: between fork and exec the closure makes system calls only, on strings made before: it neither
        // allocates nor takes a lock.
        unsafe { command.pre_exec(prepare) };
        let child = if private {
            spawner::spawn(command)?
        } else {
            command.spawn()
        };
        child.with_context(|| format!("cannot start {program} in {}", self.netns.name()))
    }
}

/// A running program. Dropping it kills it (not in a kept sandbox).
#[derive(Debug)]
pub struct Process {
    child: Option<Child>,
    kept: bool,
}

impl Process {
    /// The process id, as this process sees it.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Sends a signal, such as `libc::SIGTERM`.
    ///
    /// # Errors
    /// When the process has been waited for already.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let child = self.child.as_ref().context("the process is detached")?;
        // SAFETY: a plain system call; the child is unreaped while we hold it, so its id is still its own.
        let result = unsafe { libc::kill(child.id() as i32, signal) };
        if result != 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("signal {signal} to {}", child.id()));
        }
        Ok(())
    }

    /// Kills the program with SIGKILL and waits for its end. Its own children live on, as after any crash.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("the process is detached")?;
        child.kill()?;
        Ok(child.wait()?)
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self
            .child
            .as_mut()
            .context("the process is detached")?
            .wait()?)
    }

    /// The exit status if the program has ended.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self
            .child
            .as_mut()
            .context("the process is detached")?
            .try_wait()?)
    }

    /// The pipe to its stdin, once, if it was started with one.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.as_mut().and_then(|child| child.stdin.take())
    }

    /// The pipe from its stdout, once, if it was started with one.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.as_mut().and_then(|child| child.stdout.take())
    }

    /// The pipe from its stderr, once, if it was started with one.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.as_mut().and_then(|child| child.stderr.take())
    }

    /// Lets it run until the pod or the lab goes.
    pub fn detach(mut self) {
        self.child = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && !self.kept
        {
            // Fails only when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
