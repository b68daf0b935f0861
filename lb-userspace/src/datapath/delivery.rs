//! The switch of the redirect path: an array of programs that `from_workload` ends in.
//!
//! Nobody pins the array. The kernel empties it when its last descriptor is closed, so that the redirect path is off as soon
//! as no agent runs, however it ended (`bpf_fd_array_map_clear` in `kernel/bpf/arraymap.c`).

use std::{fmt, io};

use aya::{
    Ebpf,
    maps::{MapData, MapError, ProgramArray},
    programs::{ProgramFd, SchedClassifier},
    util::KernelVersion,
};
use lb_common::redirect::RedirectState;
use tracing::{info, warn};

use super::links::{Mechanism, Uplinks};
use super::load::LoadedProgram;
use super::verify::verify;
use crate::causes::with_causes;

/// The programs, in the order of their places in the array.
const IN_ARRAY: [&str; 2] = ["deliver_v4", "deliver_v6"];
/// The program of uplinks.
const FROM_UPLINK: &str = "from_uplink";

/// The switch.
pub struct Delivery {
    array: ProgramArray<MapData>,
    programs: [ProgramFd; 2],
    from_uplink: Option<LoadedProgram>,
}

/// Whether `from_workload` can be loaded with a tail call in it, as it calls functions of its own as well: Linux 5.10 on
/// x86-64, 6.0 on arm64.
pub(super) fn is_possible() -> bool {
    match std::env::consts::ARCH {
        "x86_64" => true,
        "aarch64" => {
            KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 0, 0))
        }
        _ => false,
    }
}

/// Loads the programs. They need `bpf_check_mtu` (Linux 5.12), `bpf_redirect_peer` and `bpf_redirect_neigh` with
/// a gateway (5.10), which nothing else does.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<Delivery, RedirectState> {
    try_load(ebpf).map_err(|error| {
        warn!(error = %with_causes(&*error), "the kernel can't deliver packets past its stack");
        RedirectState::Unsupported
    })
}

fn try_load(ebpf: &mut Ebpf) -> Result<Delivery, Box<dyn std::error::Error>> {
    let array = ebpf.take_map("deliver").ok_or("no map deliver")?;
    let [v4, v6] = IN_ARRAY.map(|name| load_program(ebpf, name));
    let from_uplink = load_program(ebpf, FROM_UPLINK)?;
    Ok(Delivery {
        array: array.try_into()?,
        programs: [v4?.1, v6?.1],
        from_uplink: Some(from_uplink.0),
    })
}

fn load_program(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<(LoadedProgram, ProgramFd), Box<dyn std::error::Error>> {
    let program: &mut SchedClassifier = ebpf.program_mut(name).ok_or(name)?.try_into()?;
    verify(name, || program.load())?;
    let loaded = LoadedProgram::of(name, program.info()?, program.fd()?)?;
    info!(
        program = name,
        id = loaded.id,
        verified_instructions = loaded.verified_instructions,
        "loaded"
    );
    Ok((loaded, program.fd()?.try_clone()?))
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("programs", &self.programs)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// The links of uplinks, for their one user; none the second time.
    pub fn take_uplinks(&mut self, mechanism: Mechanism) -> Option<Uplinks> {
        let program = self.from_uplink.take()?;
        Some(Uplinks::new(program, mechanism))
    }

    /// From now on packets are delivered past the stack.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn turn_on(&mut self) -> io::Result<()> {
        for (index, program) in (0..).zip(&self.programs) {
            self.array.set(index, program, 0).map_err(into_io)?;
        }
        Ok(())
    }

    /// From now on all packets go through the stack.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn turn_off(&mut self) -> io::Result<()> {
        for index in 0..IN_ARRAY.len() as u32 {
            match self.array.clear_index(&index).map_err(into_io) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Ok(())
    }
}

fn into_io(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}
