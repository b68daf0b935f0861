//! One named network namespace: running code, programs, `ip` and sysctls in it. What is wired to what is `topology`'s
//! business.

use std::fmt;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::process::Command;
use crate::sandbox::{NETNS_DIRECTORY, Sandbox};
use crate::{command_line, device, process};

/// A handle to a named network namespace; clones are the same namespace.
///
/// The name goes away with the last handle (not in a kept sandbox). The namespace itself lives on while a thread or
/// socket is in it, as always.
#[derive(Clone)]
pub struct Netns(Arc<Inner>);

struct Inner {
    name: String,
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Netns {
    /// Makes an empty namespace with `lo` up, visible to `ip netns` under `name` within the sandbox.
    ///
    /// # Errors
    /// Without a sandbox, or when the name is taken or no file name.
    pub fn create(name: &str) -> Result<Netns> {
        let sandbox = Sandbox::current()?;
        ensure!(
            !name.is_empty() && !name.contains('/') && !name.starts_with('.'),
            "{name:?} cannot name a namespace"
        );
        let path = Path::new(NETNS_DIRECTORY).join(name);
        File::create_new(&path)
            .with_context(|| format!("cannot name a namespace {name}: is there one already?"))?;
        let made = on_fresh_thread(name, || make_namespace(&path));
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
        let file = made.with_context(|| format!("cannot make the namespace {name}"))?;
        Ok(Netns(Arc::new(Inner {
            name: name.to_owned(),
            path,
            file,
            kept: !sandbox.is_private(),
        })))
    }

    /// The name, with the lab's prefix.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where the namespace is mounted: valid until it is deleted.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The kernel's number of the namespace, as in `readlink /proc/PID/ns/net`.
    ///
    /// # Errors
    /// When the kernel refuses `fstat`.
    pub fn inode(&self) -> Result<u64> {
        Ok(self.0.file.metadata()?.ino())
    }

    /// Runs `work` on a fresh thread inside the namespace and returns its result. A panic in it goes on in the caller.
    ///
    /// A socket belongs to the namespace in which it was made, wherever it is used afterwards: make it here, use it
    /// anywhere.
    ///
    /// # Panics
    /// When the thread cannot enter the namespace, and when `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_fresh_thread(self.name(), || {
            if let Err(error) = self.enter() {
                panic!("{error:#}");
            }
            work()
        })
    }

    /// Moves the calling thread into the namespace, for good. Meant for threads that serve in it all their life.
    ///
    /// # Errors
    /// Without root.
    pub fn enter(&self) -> Result<()> {
        setns(&self.0.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the namespace {}", self.name()))
    }

    /// A program that will run inside the namespace, with a mount namespace of its own. See [`Command`].
    pub fn command(&self, program: &str) -> Command {
        Command::new(self, program)
    }

    /// Runs lines of `ip` commands (without the word `ip`) in one go: `["link set eth0 down", "route flush cache"]`.
    ///
    /// # Errors
    /// With the first line that fails and what `ip` says about it.
    pub fn ip(&self, lines: &[impl AsRef<str> + Sync]) -> Result<()> {
        let lines: Vec<String> = lines.iter().map(|line| line.as_ref().to_owned()).collect();
        self.run(|| command_line::ip_batch(&lines))
            .with_context(|| format!("in {}", self.name()))
    }

    /// What `ip ARGUMENTS` prints inside the namespace.
    ///
    /// # Errors
    /// When `ip` fails, with what it says.
    pub fn ip_output(&self, arguments: &[&str]) -> Result<String> {
        self.run(|| command_line::ip_output(arguments))
            .with_context(|| format!("in {}", self.name()))
    }

    /// Sets sysctls below `/proc/sys/net`, in order: `("ipv4/conf/all/rp_filter", "1")`.
    ///
    /// # Errors
    /// With the sysctl that is missing or refuses the value.
    pub fn set_sysctls(&self, values: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in values {
                fs::write(sysctl_path(key), value).with_context(|| {
                    format!("cannot set net/{key} to {value} in {}", self.name())
                })?;
            }
            Ok(())
        })
    }

    /// The value of a sysctl below `/proc/sys/net`, without the newline.
    ///
    /// # Errors
    /// With the sysctl that is missing.
    pub fn sysctl(&self, key: &str) -> Result<String> {
        let text = self.run(|| fs::read_to_string(sysctl_path(key)));
        Ok(text
            .with_context(|| format!("cannot read net/{key} in {}", self.name()))?
            .trim_end()
            .to_owned())
    }

    /// Kills the processes inside and removes the name, now. Threads and sockets of this process that are inside keep
    /// the namespace itself alive until they end. Deleting twice is no error.
    ///
    /// # Errors
    /// When a process does not die or the name cannot be removed.
    pub fn delete(&self) -> Result<()> {
        if self.0.is_mounted() {
            process::kill_inside(&self.0.path)?;
            remove_name(&self.0.path)?;
        }
        Ok(())
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.0.kept
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Netns({})", self.name())
    }
}

impl Inner {
    /// Whether the name still stands for this namespace, and not for nothing or for a namesake made later.
    fn is_mounted(&self) -> bool {
        match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(named), Ok(own)) => (named.dev(), named.ino()) == (own.dev(), own.ino()),
            _ => false,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.kept && self.is_mounted() {
            // Whatever remains goes with the sandbox's mount and PID namespaces.
            let _ = process::kill_inside(&self.path).and_then(|_| remove_name(&self.path));
        }
    }
}

/// Unmounts and unlinks a namespace's name.
pub(crate) fn remove_name(path: &Path) -> Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // EINVAL: a leftover file with nothing mounted on it.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot unmount {}", path.display()));
        }
    }
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

fn make_namespace(path: &Path) -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    mount(
        Some("/proc/thread-self/ns/net"),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    device::bring_loopback_up()?;
    Ok(File::open("/proc/thread-self/ns/net")?)
}

fn on_fresh_thread<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name(format!("in {name}"))
            .spawn_scoped(scope, work);
        let thread =
            thread.unwrap_or_else(|error| panic!("cannot start a thread for {name}: {error}"));
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn sysctl_path(key: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(key)
}
