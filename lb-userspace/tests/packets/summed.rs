//! Packets whose sum the device has taken over all of it (`CHECKSUM_COMPLETE`): what the kernel keeps beside the packet must
//! still be true after a rewrite. The kernel itself checks it after a run with a flag that aya does not offer.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, ensure};
use aya::programs::SchedClassifier;
use lb_common::addr::Protocol;
use lb_common::packet::TcpFlags;
use lb_common::testing::{Frame, L4, MemoryDataplane};

use crate::family::{Family, on_both_families};
use crate::loaded::{Loaded, Program};

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

/// Runs a program on a frame that carries its whole sum, and returns the frame that came out.
///
/// # Errors
/// `EBADMSG` if the sum is wrong afterwards.
fn run_summed(program: &SchedClassifier, frame: &[u8]) -> io::Result<Vec<u8>> {
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
    Ok(out)
}

on_both_families! {
    fn the_sum_of_the_whole_packet_stays_true<A>() -> Result<()> {
        for (port, target) in [(80, 80), (80, 8_080)] {
            for (protocol, l4) in [
                (Protocol::Tcp, L4::tcp(40_000, port, TcpFlags::SYN)),
                (Protocol::Udp, L4::udp(40_000, port, b"what is the time?")),
            ] {
                let mut dp = MemoryDataplane::<A>::new();
                dp.serve(1, A::vip(10), port, protocol, &[(A::pod(2), target)]);
                let loaded = Loaded::with(&dp)?;
                check(&loaded, &Frame::new(A::pod(1), A::vip(10), l4), (A::pod(2), target))?;
            }
        }
        Ok(())
    }
}

fn check<A: Family>(loaded: &Loaded, sent: &Frame<A>, backend: (A, u16)) -> Result<()> {
    let at_backend = sent.with_destination(backend.0, backend.1);
    let out = run_summed(loaded.program(Program::FromWorkload)?, &sent.build())
        .with_context(|| format!("on the way to the backend: {sent:?}"))?;
    ensure!(out == at_backend.build(), "not translated: {sent:?}");

    let reply = at_backend.reversed();
    let back = run_summed(loaded.program(Program::ToWorkload)?, &reply.build())
        .with_context(|| format!("on the way back: {reply:?}"))?;
    ensure!(back != reply.build(), "not translated: {reply:?}");

    let kind = if A::OCTETS == 4 { [3, 3] } else { [1, 4] };
    for (program, about, by) in [
        (Program::ToWorkload, &at_backend, at_backend.ip.destination),
        (Program::FromWorkload, &sent.reversed(), sent.ip.source),
    ] {
        let error = about.icmp_error(by, kind, 100);
        let out = run_summed(loaded.program(program)?, &error.build())
            .with_context(|| format!("an error: {error:?}"))?;
        ensure!(out != error.build(), "not translated: {error:?}");
    }
    Ok(())
}
