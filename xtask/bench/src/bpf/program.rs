//! Programs in the kernel that run on frames of ours.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};

use super::assembler::Code;
use super::{Command, CreateLink, LoadProgram, TestRun, call, call_for_descriptor};

/// A program, for as long as the value lives.
pub struct Program(OwnedFd);

/// A place where the kernel runs a program; the number is the kernel's (`enum bpf_attach_type`).
#[derive(Debug, Clone, Copy)]
pub enum Hook {
    /// Packets that a device receives.
    TcxIngress = 46,
    /// Packets that a device sends.
    TcxEgress = 47,
}

/// What keeps a program at a hook, for as long as the value lives.
pub struct Link {
    _descriptor: OwnedFd,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// The program's action, the last time.
    pub action: i32,
    /// How long it took, in nanoseconds, on average of all times.
    pub nanoseconds: u32,
}

/// Go on (`TC_ACT_UNSPEC`).
pub const NEXT: i32 = -1;
/// To the device that a helper was told (`TC_ACT_REDIRECT`).
const REDIRECT: i32 = 7;

impl Ran {
    /// The nanoseconds, where the packet goes on.
    ///
    /// # Errors
    /// Where it does not.
    pub fn goes_on(self) -> Result<f64> {
        ensure!(self.action == NEXT, "a packet does not go on: {self:?}");
        Ok(f64::from(self.nanoseconds))
    }

    /// The nanoseconds, where the packet is handed to another device.
    ///
    /// # Errors
    /// Where it is not.
    pub fn is_redirected(self) -> Result<f64> {
        ensure!(
            self.action == REDIRECT,
            "a packet is not handed over: {self:?}"
        );
        Ok(f64::from(self.nanoseconds))
    }
}

impl Program {
    /// A program for packets that lets all of them go on and does nothing else: what a run costs without one.
    ///
    /// # Errors
    /// Without root, or if the kernel refuses it.
    pub fn empty() -> Result<Self> {
        Self::load(&Code::default().end(NEXT)).context("load an empty program")
    }

    /// A program for packets of a device, as the agent's are.
    ///
    /// # Errors
    /// Without root, or if the kernel refuses it.
    pub fn load(code: &Code) -> Result<Self> {
        const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
        let code = code.words();
        let mut attributes = LoadProgram {
            kind: BPF_PROG_TYPE_SCHED_CLS,
            instructions: code.len() as u32,
            code: code.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..LoadProgram::default()
        };
        // SAFETY: code and licence outlive the call; the code has the length told, the licence ends in a zero. The command returns a
        // descriptor.
        let descriptor = unsafe { call_for_descriptor(Command::ProgLoad, &mut attributes)? };
        Ok(Self(descriptor))
    }

    /// A program that is in the kernel.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn of(program: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self(program.try_clone_to_owned()?))
    }

    /// Has the kernel run it at a hook of a device of the caller's network namespace.
    ///
    /// # Errors
    /// If the kernel refuses; before Linux 6.6 it does not know these hooks.
    pub fn attach(&self, hook: Hook, device: u32) -> Result<Link> {
        let mut attributes = CreateLink {
            program: self.descriptor() as u32,
            device,
            hook: hook as u32,
            flags: 0,
        };
        // SAFETY: the attributes point to nothing. The command returns a descriptor.
        let descriptor = unsafe { call_for_descriptor(Command::LinkCreate, &mut attributes) };
        Ok(Link {
            _descriptor: descriptor
                .with_context(|| format!("attach a program to device {device} by tcx"))?,
        })
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Runs it so many times on one buffer, which begins as this frame: what a run makes of it is what the next one gets.
    ///
    /// # Errors
    /// If the kernel refuses: it wants a frame that is longer than an Ethernet header.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<Ran> {
        let mut attributes = TestRun {
            program: self.descriptor() as u32,
            octets_in: frame.len() as u32,
            frame_in: frame.as_ptr() as u64,
            repeat,
            ..TestRun::default()
        };
        // SAFETY: the frame outlives the call and has the size told; no other is asked for.
        unsafe { call(Command::ProgTestRun, &mut attributes) }
            .with_context(|| format!("run a program on {} octets", frame.len()))?;
        Ok(Ran {
            action: attributes.result as i32,
            nanoseconds: attributes.nanoseconds,
        })
    }
}
