//! bpf(2), as much of it as the programs and maps of this bench need. The structs are the heads of `union bpf_attr`
//! (`include/uapi/linux/bpf.h`); the kernel takes a shorter one as one that ends in zeros.

pub mod assembler;
pub mod program;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use bytemuck::{Pod, Zeroable};
use lab::uninterrupted;

/// A command; the number is the kernel's (`enum bpf_cmd`).
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub enum Command {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    ProgLoad = 5,
    ProgTestRun = 10,
    LinkCreate = 28,
}

/// Of `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct CreateMap {
    pub kind: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
}

/// Of `BPF_MAP_LOOKUP_ELEM` and `BPF_MAP_UPDATE_ELEM`. Key and value are addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct Element {
    pub map: u32,
    pub reserved: u32,
    pub key: u64,
    pub value: u64,
    pub flags: u64,
}

/// Of `BPF_PROG_LOAD`. Code, licence and log are addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct LoadProgram {
    pub kind: u32,
    pub instructions: u32,
    pub code: u64,
    pub license: u64,
    pub log_level: u32,
    pub log_size: u32,
    pub log: u64,
}

/// Of `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct CreateLink {
    pub program: u32,
    pub device: u32,
    pub hook: u32,
    pub flags: u32,
}

/// Of `BPF_PROG_TEST_RUN`. The frames are addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub struct TestRun {
    pub program: u32,
    pub result: u32,
    pub octets_in: u32,
    pub octets_out: u32,
    pub frame_in: u64,
    pub frame_out: u64,
    pub repeat: u32,
    pub nanoseconds: u32,
}

/// How often a call is made that a signal ends: the verifier says EAGAIN then, as libbpf knows, which tries as often.
const ATTEMPTS: u32 = 5;

/// Makes a call, again if it was interrupted, and returns what it returns.
///
/// # Safety
/// What the attributes point to lives as long as the call and has the size that the command, the map or the attributes tell.
///
/// # Errors
/// Those of the kernel.
pub unsafe fn call<T: Pod>(command: Command, attributes: &mut T) -> io::Result<i32> {
    let mut attempts = 1..=ATTEMPTS;
    uninterrupted(|| {
        // SAFETY: the attributes have the size told; what they point to is as the caller promises.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command as libc::c_long,
                &raw mut *attributes,
                size_of::<T>(),
            )
        };
        if result >= 0 {
            return Ok(result as i32);
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock && attempts.next().is_some() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Err(error)
    })
}

/// Makes a call that returns a descriptor.
///
/// # Safety
/// As for [`call`], and the command is one that returns a descriptor.
///
/// # Errors
/// Those of the kernel.
pub unsafe fn call_for_descriptor<T: Pod>(
    command: Command,
    attributes: &mut T,
) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let descriptor = unsafe { call(command, attributes)? };
    // SAFETY: the kernel has just given us this descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
