//! `BPF_PROG_TEST_RUN` with a flag that aya does not offer: the packet's sum is taken over all of it (`CHECKSUM_COMPLETE`), and
//! afterwards the kernel checks that what it keeps beside the packet is still true.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use aya::programs::SchedClassifier;

/// The head of `union bpf_attr` for `BPF_PROG_TEST_RUN` (`include/uapi/linux/bpf.h`).
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// Runs a program on a frame that carries its whole sum, and returns its action and the frame that came out.
///
/// # Errors
/// `EBADMSG` if the sum is wrong afterwards.
pub fn run_summed(program: &SchedClassifier, frame: &[u8]) -> io::Result<(i32, Vec<u8>)> {
    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    const BPF_F_TEST_SKB_CHECKSUM_COMPLETE: u32 = 1 << 2;
    let mut out = vec![0; frame.len() + 256];
    let fd = program.fd().map_err(io::Error::other)?;
    let mut attributes = TestRun {
        prog_fd: fd.as_fd().as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        flags: BPF_F_TEST_SKB_CHECKSUM_COMPLETE,
        ..TestRun::default()
    };
    // SAFETY: the attributes are those of the command, and both buffers live as long as the call and have the sizes told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attributes,
            size_of::<TestRun>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    out.truncate(attributes.data_size_out as usize);
    Ok((attributes.retval as i32, out))
}
