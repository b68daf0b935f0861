//! How long the verifier walks. The kernel's limit is a million instructions; older kernels walk further for the same
//! program, and every instruction is time at each load.

use anyhow::{Context, Result};

use aya::EbpfLoader;
use aya::programs::{CgroupSockAddr, ProgramInfo};
use lab::Sandbox;
use lb_common::pipeline::socket::Scope;
use lb_userspace::datapath::{Hook, LOG_LEVEL, object, verify};

use crate::loaded::{DELIVER, FROM_UPLINK, Loaded, Program};

#[test]
fn the_verifier_walks_no_further_than_the_budgets() -> Result<()> {
    let loaded = Loaded::redirecting()?;
    for (program, budget) in [
        // Of both, about a third are for ICMP errors: a second IPv6 header, with extension headers, in what they quote. A fifth to a
        // third are for the checksum of SCTP, in the packet and in what is quoted.
        (Program::FromWorkload, 275_000),
        (Program::ToWorkload, 88_000),
    ] {
        check(program.name(), &loaded.program(program)?.info()?, budget)?;
    }
    for name in DELIVER {
        check(name, &loaded.named(name)?.info()?, 30_000)?;
    }
    check(FROM_UPLINK, &loaded.named(FROM_UPLINK)?.info()?, 30_000)?;
    Ok(())
}

/// It is a part of `lb`, and an agent reads and relocates all of it at each start. Most of it is type information and names.
#[test]
fn the_object_is_no_larger_than_its_budget() -> Result<()> {
    const OCTETS: usize = 780_000;
    let octets = object::embedded()?.len();
    println!("the object: {octets} of {OCTETS} octets");
    assert!(octets <= OCTETS, "{octets} octets");
    Ok(())
}

/// With every scope, and with and without the helper that tells errors: kernels before Linux 6.1 have it not.
#[test]
fn the_verifier_walks_no_further_than_the_budgets_of_sockets() -> Result<()> {
    Sandbox::current()?;
    for (scope, tells_errors) in [(Scope::Host, 1_u32), (Scope::All, 1), (Scope::All, 0)] {
        let scope = scope as u32;
        let mut ebpf = EbpfLoader::new()
            .verifier_log_level(LOG_LEVEL)
            .override_global("SOCKET_SCOPE", &scope, true)
            .override_global("TELLS_ERRORS", &tells_errors, true)
            .load(object::for_kernel()?)
            .context("the object")?;
        for hook in Hook::ALL {
            let program = ebpf.program_mut(hook.program()).context("a program")?;
            let program: &mut CgroupSockAddr = program.try_into()?;
            verify(hook.program(), || program.load())?;
            let budget = match hook {
                // Both families, as a socket of IPv6 may speak IPv4.
                Hook::Connect6 => 9_500,
                Hook::Connect4 => 3_000,
                // And whether it is the socket's first datagram, where a client stays with its backend.
                Hook::Sendmsg6 => 15_500,
                Hook::Sendmsg4 => 5_000,
                _ => 200,
            };
            check(hook.program(), &program.info()?, budget)?;
        }
    }
    Ok(())
}

#[track_caller]
fn check(name: &str, program: &ProgramInfo, budget: u32) -> Result<()> {
    let walked = program
        .verified_instruction_count()
        .context("this kernel does not say how far its verifier walked (Linux 5.16 does)")?;
    println!("{name}: {walked} of {budget} verified instructions");
    assert!(walked < budget, "{name}: {walked} instructions");
    Ok(())
}
