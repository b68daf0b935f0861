//! A guard under which installing a daemon's package does not start the daemon: Debian's policy-rc.d, for the time of the guard.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Asked by invoke-rc.d before it starts anything; 101 means "not allowed".
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Tells a file that a killed run left behind from the administrator's own.
const MARK: &str = "# written by cargo xtask while it installs packages";
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// While this lives, package scripts start no service. A policy that the system already has is left as it is.
pub struct NoServiceStarts {
    ours: Option<PathBuf>,
    handlers: Vec<(Signal, SigAction)>,
}

impl NoServiceStarts {
    /// Takes effect at once.
    ///
    /// # Errors
    /// If the policy can't be written.
    pub fn new() -> Result<Self> {
        Self::at(Path::new(POLICY))
    }

    /// Whether somebody asked this program to stop since the guard was made.
    pub fn interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }

    fn at(policy: &Path) -> Result<Self> {
        let handlers = SIGNALS.into_iter().filter_map(outlive).collect();
        // Made before the file, so that the handlers are put back if the file can't be written.
        let mut guard = Self {
            ours: None,
            handlers,
        };
        if fs::read_to_string(policy).is_ok_and(|text| text.contains(MARK)) {
            guard.ours = Some(policy.to_owned());
            return Ok(guard);
        }
        match fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(policy)
        {
            Ok(mut file) => {
                guard.ours = Some(policy.to_owned());
                write!(file, "#!/bin/sh\n{MARK}\nexit 101\n")
                    .with_context(|| format!("cannot write {}", policy.display()))?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot write {}", policy.display()));
            }
        }
        Ok(guard)
    }
}

impl Drop for NoServiceStarts {
    fn drop(&mut self) {
        if let Some(policy) = &self.ours
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!(
                "warning: cannot remove {}: {error}; remove it, or no package can start its service",
                policy.display()
            );
        }
        for (signal, action) in &self.handlers {
            // SAFETY: the action is the one that was in force before `outlive`, so it is valid for this process.
            let _ = unsafe { sigaction(*signal, action) };
        }
    }
}

/// Lets this process live through a signal; a child still dies of it, and the guard's drop then runs in order.
/// A handler and not "ignore", since a child would inherit the latter.
fn outlive(signal: Signal) -> Option<(Signal, SigAction)> {
    extern "C" fn note(_: nix::libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler stores to a lock-free atomic and nothing else, which is safe at any point of the program.
    unsafe { sigaction(signal, &action) }
        .ok()
        .map(|before| (signal, before))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xtask-policy-{}-{name}", std::process::id()))
    }

    #[test]
    fn the_policy_forbids_starts_and_is_gone_afterwards() {
        let path = scratch("fresh");
        let guard = NoServiceStarts::at(&path).unwrap();
        // Run through a shell: executing a file that was just written is refused while another thread forks.
        let status = std::process::Command::new("sh")
            .arg(&path)
            .status()
            .unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o100, 0o100, "it can be executed");
        assert_eq!(status.code(), Some(101));
        drop(guard);
        assert!(!path.exists());
    }

    #[test]
    fn the_administrators_policy_is_left_alone() {
        let path = scratch("existing");
        fs::write(&path, "#!/bin/sh\nexit 104\n").unwrap();
        drop(NoServiceStarts::at(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 104\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_policy_that_a_killed_run_left_is_removed() {
        let path = scratch("leftover");
        fs::write(&path, format!("#!/bin/sh\n{MARK}\nexit 101\n")).unwrap();
        drop(NoServiceStarts::at(&path).unwrap());
        assert!(!path.exists());
    }
}
