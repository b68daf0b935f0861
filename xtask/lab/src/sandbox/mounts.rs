//! The mounts of a sandbox. All are made in the calling thread's mount namespace.

use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

const NOTHING: Option<&str> = None;

/// No mount made from here on is seen by the rest of the machine.
pub(super) fn make_private() -> Result<()> {
    mount(
        NOTHING,
        "/",
        NOTHING,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NOTHING,
    )
    .context("cannot make the mounts private")
}

pub(super) fn tmpfs(target: &Path) -> Result<()> {
    mount(
        Some("lab"),
        target,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=0755"),
    )
    .with_context(|| format!("cannot mount a tmpfs on {}", target.display()))
}

pub(super) fn bpffs(target: &Path) -> Result<()> {
    mount(
        Some("lab"),
        target,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .with_context(|| {
        format!(
            "cannot mount a bpffs on {}: the kernel needs CONFIG_BPF_SYSCALL",
            target.display()
        )
    })
}
