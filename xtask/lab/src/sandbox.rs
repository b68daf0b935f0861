//! Where a lab's names live: in this process alone (the default), or in the machine's `/run` for a lab that is meant to
//! stay up after the process. Nothing here touches devices or routes.

mod mounts;
mod teardown;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, unshare};

pub use teardown::Teardown;

/// Where `ip netns` and this crate keep the names of network namespaces.
pub(crate) const NETNS_DIRECTORY: &str = "/run/netns";

const DIRECTORY: &str = "/run/lb-lab";

static CURRENT: OnceLock<Result<Sandbox, String>> = OnceLock::new();

/// The one place where this process's labs live. See the crate's documentation for what goes away when.
#[derive(Debug)]
pub struct Sandbox {
    kept_prefix: Option<String>,
    directory: PathBuf,
    bpffs: PathBuf,
}

impl Sandbox {
    /// Makes this process private: its own mounts, its own `/run`, its own empty network, its own bpffs.
    ///
    /// Must be called while the process has one thread. In a test binary use [`sandbox!`](crate::sandbox) instead.
    ///
    /// # Errors
    /// Without root, with more than one thread, after an earlier call, or when the kernel refuses a namespace or mount.
    pub fn enter() -> Result<&'static Sandbox> {
        Self::settle(enter_private())
    }

    /// For a lab that stays up when this process ends: names go to the machine's own `/run/netns`, each with `prefix`,
    /// programs are not killed, and only [`Sandbox::teardown`] with the same prefix removes it all.
    ///
    /// # Errors
    /// Without root, with a prefix that is no word of 3 to 32 characters ending in a dash, or when such a lab is up already.
    pub fn keep(prefix: &str) -> Result<&'static Sandbox> {
        Self::settle(keep_with_prefix(prefix))
    }

    /// Removes the kept lab with `prefix`, of this process or of an earlier one: kills the processes inside its
    /// namespaces, deletes the namespaces and unmounts its bpffs. Without such a lab it does nothing.
    ///
    /// # Errors
    /// Without root, with a prefix that [`Sandbox::keep`] would refuse, or when something does not go away.
    pub fn teardown(prefix: &str) -> Result<Teardown> {
        require_root()?;
        check_prefix(prefix)?;
        teardown::teardown(prefix, &kept_directory(prefix))
    }

    /// The sandbox that this process has entered.
    ///
    /// # Errors
    /// When it has entered none, or when entering failed: then with that reason.
    pub fn current() -> Result<&'static Sandbox> {
        match CURRENT.get() {
            Some(Ok(sandbox)) => Ok(sandbox),
            Some(Err(reason)) => Err(anyhow!("{reason}")),
            None => bail!(
                "no sandbox: put lab::sandbox!() at the top of the test file, or call Sandbox::enter() first in main"
            ),
        }
    }

    /// A mounted bpffs for this sandbox's pins.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// A directory for files (manifests, configurations, sockets, logs) that goes away with the sandbox.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The prefix of a lab that stays up; `None` in a private sandbox.
    pub fn kept_prefix(&self) -> Option<&str> {
        self.kept_prefix.as_deref()
    }

    pub(crate) fn is_private(&self) -> bool {
        self.kept_prefix.is_none()
    }

    fn settle(outcome: Result<Sandbox>) -> Result<&'static Sandbox> {
        ensure!(
            CURRENT.get().is_none(),
            "this process has entered a sandbox already"
        );
        CURRENT.get_or_init(|| outcome.map_err(|error| format!("{error:#}")));
        Self::current()
    }

    fn at(directory: PathBuf, kept_prefix: Option<String>) -> Sandbox {
        Sandbox {
            kept_prefix,
            bpffs: directory.join("bpf"),
            directory,
        }
    }
}

/// Enters a private [`Sandbox`](crate::Sandbox) before `main`, while the process has one thread: once per test binary, at file level.
///
/// A failure (no root) is kept and returned by whatever needs the sandbox, so the tests fail in words.
#[macro_export]
macro_rules! sandbox {
    () => {
        const _: () = {
            extern "C" fn enter() {
                // The reason is kept: every test that builds a lab reports it.
                let _ = $crate::Sandbox::enter();
            }
            // SAFETY: .init_array holds pointers to functions of this type, which the C library calls before `main`,
            // after its own initialisation, on the only thread.
            #[used]
            #[unsafe(link_section = ".init_array")]
            static ENTER: extern "C" fn() = enter;
        };
    };
}

fn enter_private() -> Result<Sandbox> {
    require_root()?;
    let threads = fs::read_dir("/proc/self/task")
        .context("/proc is needed")?
        .count();
    ensure!(
        threads == 1,
        "a process can become private only before it starts threads, and this one has {threads}"
    );
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context(
        "the kernel refuses a private mount and network namespace: run as root with CAP_SYS_ADMIN",
    )?;
    mounts::make_private()?;
    mounts::tmpfs(Path::new("/run"))?;
    let sandbox = Sandbox::at(PathBuf::from(DIRECTORY), None);
    fs::create_dir_all(NETNS_DIRECTORY)?;
    fs::create_dir_all(&sandbox.bpffs)?;
    mounts::bpffs(&sandbox.bpffs)?;
    crate::device::bring_loopback_up().context("lo of the sandbox")?;
    Ok(sandbox)
}

fn keep_with_prefix(prefix: &str) -> Result<Sandbox> {
    require_root()?;
    check_prefix(prefix)?;
    let sandbox = Sandbox::at(kept_directory(prefix), Some(prefix.to_owned()));
    ensure!(
        !sandbox.directory.exists() && teardown::namespaces(prefix)?.is_empty(),
        "a lab with the prefix {prefix} is up already: tear it down first"
    );
    fs::create_dir_all(NETNS_DIRECTORY)?;
    fs::create_dir_all(&sandbox.bpffs)?;
    mounts::bpffs(&sandbox.bpffs)?;
    Ok(sandbox)
}

fn require_root() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the lab needs root to make network namespaces: run this as root"
    );
    Ok(())
}

fn check_prefix(prefix: &str) -> Result<()> {
    // The dash keeps a lab `demo-` clear of namespaces such as `demonstration`.
    let plain = prefix.ends_with('-')
        && prefix
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-');
    ensure!(
        plain && (3..=32).contains(&prefix.len()),
        "{prefix:?} is no prefix for a lab: use 3 to 32 letters, digits and dashes, a dash last"
    );
    Ok(())
}

fn kept_directory(prefix: &str) -> PathBuf {
    PathBuf::from(format!(
        "{DIRECTORY}-{}",
        prefix.strip_suffix('-').unwrap_or(prefix)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_could_match_foreign_namespaces_is_refused() {
        for bad in ["", "-", "lb", "lb-demo", "a/b-", "../x", "with space"] {
            assert!(check_prefix(bad).is_err(), "{bad:?}");
        }
        assert!(check_prefix("lb-demo-").is_ok());
    }
}
