//! Counts system calls as the kernel does: by its own tracepoint, of this thread alone.

use std::fs;
use std::io::{self, Read};
use std::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use nix::mount::{MsFlags, mount};

/// Where the kernel tells the numbers of its tracepoints; mounted here if nobody has.
const TRACING: &str = "/sys/kernel/tracing";
/// `PERF_TYPE_TRACEPOINT` of `include/uapi/linux/perf_event.h`.
const TRACEPOINT: u32 = 2;

/// The bpf(2) calls of this thread since it was made.
pub struct BpfCalls(fs::File);

impl BpfCalls {
    /// Begins to count. To be called in a mount namespace of one's own.
    pub fn count() -> Self {
        let id = Path::new(TRACING).join("events/syscalls/sys_enter_bpf/id");
        if !id.exists() {
            let none: Option<&str> = None;
            mount(none, TRACING, Some("tracefs"), MsFlags::empty(), none).expect(
                "tracefs, which tells the number of a tracepoint: it needs CONFIG_FTRACE_SYSCALLS and root",
            );
        }
        let id = fs::read_to_string(&id).expect("the tracepoint of bpf(2)");
        let attributes = Attributes {
            kind: TRACEPOINT,
            size: size_of::<Attributes>() as u32,
            config: id.trim().parse().expect("a number"),
            ..Attributes::default()
        };
        let (this_thread, any_cpu, no_group, no_flags) = (0, -1, -1, 0);
        // SAFETY: the attributes live through the call and say how long they are.
        let descriptor = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                this_thread,
                any_cpu,
                no_group,
                no_flags,
            )
        };
        assert!(
            descriptor >= 0,
            "cannot count system calls: {}",
            io::Error::last_os_error()
        );
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Self(unsafe { OwnedFd::from_raw_fd(descriptor as i32) }.into())
    }

    /// How many there were so far.
    pub fn so_far(&mut self) -> u64 {
        let mut octets = [0; 8];
        self.0.read_exact(&mut octets).expect("the counter");
        u64::from_ne_bytes(octets)
    }
}

/// The first version of `struct perf_event_attr` (`PERF_ATTR_SIZE_VER0`).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}
