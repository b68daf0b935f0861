//! One program of the control plane: its process and its log.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::{Netns, Process};

use crate::binaries::Program;
use crate::progress::say;

/// How long a program may take to end when asked to.
const GRACE: Duration = Duration::from_secs(15);
const TAIL: usize = 20;

/// A running program. Dropping it kills it, except in a kept sandbox.
pub(super) struct Daemon {
    program: Program,
    process: Process,
    log: PathBuf,
}

impl Daemon {
    pub(super) fn spawn(
        netns: &Netns,
        program: Program,
        arguments: &[String],
        logs: &Path,
    ) -> Result<Daemon> {
        let log = logs.join(format!("{}.log", program.name()));
        // Appended to, since a program may be started again.
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| log.display().to_string())?;
        let mut command = netns.command(&program.path()?.display().to_string());
        command.args(arguments).stdin(std::process::Stdio::null());
        command.stdout(file.try_clone()?).stderr(file);
        Ok(Daemon {
            program,
            process: command.spawn()?,
            log,
        })
    }

    /// Polls `ready` until it holds.
    ///
    /// # Errors
    /// When the program ends or the time is over, with the end of its log.
    pub(super) fn wait_until(
        &mut self,
        what: &str,
        patience: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        let mut told = start;
        while !ready() {
            if let Some(status) = self.process.try_wait()? {
                bail!("{} ended ({status}):\n{}", self.program.name(), self.tail());
            }
            if start.elapsed() > patience {
                let name = self.program.name();
                bail!(
                    "{name} does not {what} after {patience:?}:\n{}",
                    self.tail()
                );
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                let waited = start.elapsed().as_secs();
                say(&format!(
                    "    waiting for {} to {what}, {waited} s",
                    self.program.name()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asks it to end, and kills it when it does not.
    pub(super) fn stop(mut self) -> Result<()> {
        self.process.signal(libc::SIGTERM)?;
        let asked = Instant::now();
        while self.process.try_wait()?.is_none() {
            if asked.elapsed() > GRACE {
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(super) fn kill(mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines = VecDeque::new();
        for line in text.lines() {
            if lines.len() == TAIL {
                lines.pop_front();
            }
            lines.push_back(line);
        }
        format!(
            "{}\n(from {})",
            Vec::from(lines).join("\n"),
            self.log.display()
        )
    }
}
