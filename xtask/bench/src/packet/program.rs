//! Programs in the kernel that run on frames of ours.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use lab::uninterrupted;

/// A program, for as long as the value lives.
pub struct Program(OwnedFd);

/// The head of `union bpf_attr` for `BPF_PROG_LOAD` (`include/uapi/linux/bpf.h`).
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    octets_in: u32,
    octets_out: u32,
    frame_in: u64,
    frame_out: u64,
    repeat: u32,
    nanoseconds: u32,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// The program's action.
    pub action: i32,
    /// How long it took, in nanoseconds, on average of all times.
    pub nanoseconds: u32,
}

impl Program {
    /// A program for packets that lets all of them go on and does nothing else: what a run costs without one.
    ///
    /// # Errors
    /// Without root, or if the kernel refuses it.
    pub fn empty() -> Result<Self> {
        const BPF_PROG_LOAD: libc::c_long = 5;
        const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
        // r0 = -1 (TC_ACT_UNSPEC); exit.
        let code: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];
        let load = Load {
            kind: BPF_PROG_TYPE_SCHED_CLS,
            instructions: code.len() as u32,
            code: code.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..Load::default()
        };
        // SAFETY: the attributes are those of the command; code and license live as long as the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_LOAD,
                &raw const load,
                size_of::<Load>(),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("load an empty program");
        }
        // SAFETY: the kernel has just given us this descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// A program that is in the kernel.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn of(program: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self(program.try_clone_to_owned()?))
    }

    /// Runs it so many times on one buffer, which begins as this frame: what a run makes of it is what the next one gets.
    ///
    /// # Errors
    /// If the kernel refuses: it wants a frame that is longer than an Ethernet header.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<Ran> {
        const BPF_PROG_TEST_RUN: libc::c_long = 10;
        let mut run = TestRun {
            program: self.0.as_fd().as_raw_fd() as u32,
            octets_in: frame.len() as u32,
            frame_in: frame.as_ptr() as u64,
            repeat,
            ..TestRun::default()
        };
        // SAFETY: the attributes are those of the command; the frame lives as long as the call and has the size told.
        let mut call = || unsafe {
            match libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_TEST_RUN,
                &raw mut run,
                size_of::<TestRun>(),
            ) {
                ..0 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        uninterrupted(&mut call)
            .with_context(|| format!("run a program on {} octets", frame.len()))?;
        Ok(Ran {
            action: run.result as i32,
            nanoseconds: run.nanoseconds,
        })
    }
}
