//! The checks at start, against the running kernel and against a process that lacks things.

use std::thread;

use anyhow::{Context, Result};
use lab::Sandbox;
use lb_userspace::{
    datapath::{Attach, SocketConfig},
    preflight::{BpffsState, Facts, evaluate, gather, is_fatal},
};
use nix::{
    libc,
    mount::{MsFlags, mount, umount},
    sched::{CloneFlags, unshare},
};

/// Facts as a thread sees them after it has done something to itself.
fn facts_after(change: impl FnOnce() -> Result<()> + Send) -> Result<Facts> {
    let bpffs = Sandbox::current()?.bpffs();
    thread::scope(|scope| {
        scope
            .spawn(|| {
                change()?;
                Ok(gather(bpffs, Attach::Auto, &SocketConfig::default())?)
            })
            .join()
            .expect("the thread does not panic")
    })
}

fn sentences(facts: &Facts) -> String {
    let findings = evaluate(facts);
    findings.iter().map(|f| format!("{f}\n")).collect()
}

#[test]
fn this_machine_can_run_the_agent() -> Result<()> {
    let facts = facts_after(|| Ok(()))?;
    let findings = evaluate(&facts);
    assert!(!is_fatal(&findings), "{}", sentences(&facts));
    let features = facts.features.context("features")?;
    assert!(
        features
            .needed
            .iter()
            .any(|(name, _)| name.contains("bpf_map_lookup_elem")),
        "{features:?}"
    );
    Ok(())
}

/// `struct __user_cap_header_struct` and two of `struct __user_cap_data_struct` (capset(2)).
#[repr(C)]
struct Caps {
    version: u32,
    pid: i32,
    data: [[u32; 3]; 2],
}

/// Leaves the calling thread only these capabilities.
fn keep_capabilities(mask: u64) -> Result<()> {
    let halves = [mask as u32, (mask >> 32) as u32];
    let caps = Caps {
        version: 0x2008_0522,
        pid: 0,
        data: halves.map(|half| [half, half, 0]),
    };
    // SAFETY: both pointers are to structs of the layout that version 3 of the call demands.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const caps, &raw const caps.data) };
    anyhow::ensure!(result == 0, "capset: {}", std::io::Error::last_os_error());
    Ok(())
}

#[test]
fn a_process_without_capabilities_is_told_which_it_lacks() -> Result<()> {
    let facts = facts_after(|| keep_capabilities(0))?;
    let text = sentences(&facts);
    for capability in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        assert!(text.contains(capability), "{text}");
    }
    assert_eq!(facts.features, None, "the kernel is not asked");
    Ok(())
}

#[test]
fn the_newer_capabilities_are_enough() -> Result<()> {
    let net_admin_perfmon_bpf = 1 << 12 | 1 << 38 | 1 << 39;
    let facts = facts_after(|| keep_capabilities(net_admin_perfmon_bpf))?;
    assert!(!is_fatal(&evaluate(&facts)), "{}", sentences(&facts));
    Ok(())
}

fn check_bpffs(
    change: impl FnOnce() -> Result<()> + Send,
    expected: &BpffsState,
    says: &str,
) -> Result<()> {
    let facts = facts_after(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        change()
    })?;
    assert_eq!(facts.bpffs.state, *expected);
    let text = sentences(&facts);
    assert!(text.contains(says), "{text}");
    Ok(())
}

#[test]
fn a_bpf_file_system_that_is_not_mounted_comes_with_the_command_to_mount_it() -> Result<()> {
    let bpffs = Sandbox::current()?.bpffs();
    let command = format!("`mount -t bpf bpf {}`", bpffs.display());
    check_bpffs(
        || Ok(umount(bpffs)?),
        &BpffsState::OtherFileSystem,
        &command,
    )
}

#[test]
fn a_bpf_file_system_that_is_read_only_comes_with_the_command_to_remount_it() -> Result<()> {
    let bpffs = Sandbox::current()?.bpffs();
    let remount = || {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        Ok(mount(
            None::<&str>,
            bpffs,
            None::<&str>,
            flags,
            None::<&str>,
        )?)
    };
    check_bpffs(remount, &BpffsState::ReadOnly, "mount -o remount,rw")
}

#[test]
fn a_missing_folder_comes_with_the_command_to_make_it() -> Result<()> {
    let missing = Sandbox::current()?.directory().join("missing");
    let facts = gather(&missing, Attach::Auto, &SocketConfig::default())?;
    assert_eq!(facts.bpffs.state, BpffsState::Missing);
    assert!(sentences(&facts).contains(&format!("mkdir -p {}", missing.display())));
    Ok(())
}
