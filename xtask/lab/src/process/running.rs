//! A program that has been started: signals, waiting, pipes.

use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus};

use anyhow::{Context, Result};

/// A running program. Dropping it kills it (not in a kept sandbox).
#[derive(Debug)]
pub struct Process {
    pub(super) child: Option<Child>,
    pub(super) kept: bool,
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
