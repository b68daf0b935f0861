//! A BPF file system that only one thread sees, and that is gone with it.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// Runs `test` in a thread with a mount namespace of its own and an empty BPF file system in it.
pub fn with_private_bpffs<T: Send>(test: impl FnOnce(&Path) -> T + Send) -> T {
    assert!(
        geteuid().is_root(),
        "this test makes BPF maps and a mount namespace: run it as root"
    );
    let thread = || {
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(
            Some("bpf"),
            "/sys/fs/bpf",
            Some("bpf"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
        test(Path::new("/sys/fs/bpf"))
    };
    std::thread::scope(|scope| match scope.spawn(thread).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
