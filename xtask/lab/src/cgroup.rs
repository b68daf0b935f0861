//! Control groups (cgroup v2) for tests of what is attached to one: a group of this process for all of them, below that one
//! for each test. The machine's root group is never touched.
//!
//! A thread can be in another group than its process ("threaded" groups, `Documentation/admin-guide/cgroup-v2.rst` in the
//! kernel), and a socket belongs to the group of the thread that makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::sandbox::Sandbox;

/// Waits for the end of its input, which is the end of this process however it comes, and removes the groups, which are
/// empty a moment later.
const REMOVE: &str = "cat >/dev/null; for _ in $(seq 100); do find \"$0\" -depth -type d -exec rmdir {} + && exit; \
                      sleep 0.1; done";

static OURS: OnceLock<Result<Ours, String>> = OnceLock::new();

/// The group of this process.
#[derive(Debug)]
struct Ours {
    path: PathBuf,
    /// Held for whoever removes the group.
    _until_the_end: ChildStdin,
}

/// A control group of one test. Dropping it removes it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes an empty group.
    ///
    /// # Errors
    /// Without a sandbox or a cgroup v2 hierarchy, or when the name is taken.
    pub fn create(name: &str) -> Result<Cgroup> {
        Sandbox::current()?;
        let ours = OURS.get_or_init(|| Ours::enter().map_err(|error| format!("{error:#}")));
        let ours = ours.as_ref().map_err(|reason| anyhow!("{reason}"))?;
        let path = ours.path.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let cgroup = Cgroup { path };
        cgroup.write("cgroup.type", "threaded")?;
        Ok(cgroup)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a fresh thread inside the group and returns its result. Threads that `work` starts are inside, too,
    /// and so are all sockets that they make. A panic in it goes on in the caller.
    ///
    /// # Panics
    /// When the thread can't enter the group, and when `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let work = || {
            if let Err(error) = self.write("cgroup.threads", "0") {
                panic!("{error:#}");
            }
            work()
        };
        thread::scope(|scope| {
            let result = scope.spawn(work).join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        write(&self.path.join(file), text)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What can't be removed yet goes with the process.
        let _ = fs::remove_dir(&self.path);
    }
}

impl Ours {
    /// Makes a group below the present one, and moves the process there.
    fn enter() -> Result<Ours> {
        let path = present()?.join(format!("lab-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut remover = Command::new("sh");
        remover
            .args(["-c", REMOVE])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // An interrupt from the terminal is for this process, not for who cleans up after it.
        std::os::unix::process::CommandExt::process_group(&mut remover, 0);
        let mut remover = remover.spawn().context("sh")?;
        let until_the_end = remover.stdin.take().context("a pipe")?;
        write(&path.join("cgroup.procs"), "0")?;
        Ok(Ours {
            path,
            _until_the_end: until_the_end,
        })
    }
}

/// The group that this process is in.
fn present() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then_some(at)
    });
    let mount = mount.context(
        "no cgroup v2 hierarchy is mounted: `mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified`",
    )?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(Path::new(mount).join(group.context("this process is in no cgroup v2 group")?))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {text:?} to {}", file.display()))
}
