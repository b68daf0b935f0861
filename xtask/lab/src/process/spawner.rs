//! The one thread that starts all programs of a private sandbox, and the PID namespace that ends them all.
//!
//! A parent-death signal fires when the *thread* that forked ends, and daemons shed it by forking again. So one thread,
//! which lives as long as the process, has a PID namespace for its children. The first of them does nothing but die
//! with this process; the kernel then kills everything in the namespace.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};

type Request = (Command, Sender<io::Result<Child>>);

static SPAWNER: OnceLock<Result<Mutex<Sender<Request>>, String>> = OnceLock::new();

/// Spawns `command` into the sandbox's PID namespace. The outer error is about the spawner, the inner one is spawn's.
pub(super) fn spawn(command: Command) -> Result<io::Result<Child>> {
    let spawner = SPAWNER.get_or_init(|| {
        start()
            .map(Mutex::new)
            .map_err(|error| format!("{error:#}"))
    });
    let spawner = spawner.as_ref().map_err(|error| anyhow!("{error}"))?;
    let (answer, answered) = channel();
    let lock = spawner
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    lock.send((command, answer))
        .context("the spawner thread is gone")?;
    drop(lock);
    answered.recv().context("the spawner thread is gone")
}

fn start() -> Result<Sender<Request>> {
    let (requests, inbox) = channel::<Request>();
    let (ready, started) = channel();
    thread::Builder::new()
        .name("lab-spawner".into())
        .spawn(move || {
            let prepared = prepare();
            let go_on = prepared.is_ok();
            if ready.send(prepared).is_ok() && go_on {
                serve(&inbox);
            }
        })?;
    started.recv().context("the spawner thread is gone")??;
    Ok(requests)
}

fn serve(inbox: &Receiver<Request>) {
    // The sender is in a static: this ends with the process only.
    while let Ok((mut command, answer)) = inbox.recv() {
        let _ = answer.send(command.spawn());
    }
}

/// Gives the calling thread's children a PID namespace, and that namespace its first process.
fn prepare() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWPID)
        .context("the kernel refuses a PID namespace for the lab's programs")?;
    let own = own_pidfd()?;
    // SAFETY: the child calls `first_process`, which makes system calls only and never returns.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("cannot fork the lab's first process"),
        0 => first_process(own.as_raw_fd()),
        child => wait_until_settled(child),
    }
}

fn own_pidfd() -> Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error()).context("pidfd_open of this process");
    }
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

/// PID 1 of the lab. Runs in a fork of a process with threads: system calls only, no allocation, no lock.
fn first_process(parent: RawFd) -> ! {
    // SAFETY: plain system calls with constant arguments, and pointers to locals that live through the call.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // Orphans are handed to this process; ignoring SIGCHLD reaps them.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        // Listening sockets and pipes of the parent must not stay open here.
        libc::dup2(parent, 3);
        libc::syscall(libc::SYS_close_range, 4u32, u32::MAX, 0u32);
        libc::close(0);
        libc::close(1);
        libc::close(2);
        libc::prctl(libc::PR_SET_NAME, c"lab-init".as_ptr());
        // A parent that died before the signal was set is seen here: its pidfd is readable from then on.
        let mut parent = libc::pollfd {
            fd: 3,
            events: libc::POLLIN,
            revents: 0,
        };
        loop {
            if libc::poll(&raw mut parent, 1, -1) > 0 {
                libc::_exit(0);
            }
        }
    }
}

/// Waits until the first process has closed what it inherited; it takes its name last.
fn wait_until_settled(child: i32) -> Result<()> {
    let path = format!("/proc/{child}/comm");
    crate::wait_until(
        "the lab's first process",
        std::time::Duration::from_secs(5),
        || fs::read_to_string(&path).is_ok_and(|name| name.trim_end() == "lab-init"),
    )
}
