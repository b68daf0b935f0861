//! Loads the programs of sockets. They are not needed for anything else, so the kernel may refuse them.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{CgroupSockAddr, ProgramType},
    sys::{BpfHelper, is_helper_supported},
};
use lb_common::pipeline::socket::Scope;
use lb_common::socket::SocketLb;
use tracing::{info, warn};

use super::{Hook, namespace};
use crate::causes::with_causes;
use crate::datapath::load::{LoadError, LoadedProgram};
use crate::datapath::verify::verify;

/// The programs of all hooks.
#[derive(Debug)]
pub struct SocketPrograms(BTreeMap<Hook, LoadedProgram>);

impl SocketPrograms {
    /// The program of a hook.
    pub(super) fn of(&self, hook: Hook) -> BorrowedFd<'_> {
        self.0[&hook].as_fd()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &LoadedProgram> {
        self.0.values()
    }
}

/// What the programs are told when they are loaded.
#[derive(Clone, Copy, Debug)]
pub(in crate::datapath) struct Globals {
    cookie: u64,
    scope: u32,
    tells_errors: u32,
}

impl Globals {
    /// Asks the kernel what there is to tell.
    ///
    /// # Errors
    /// Why sockets can't be served. It has been warned of then.
    pub(in crate::datapath) fn gather(scope: Option<Scope>) -> Result<Self, SocketLb> {
        let scope = scope.ok_or(SocketLb::Off)?;
        let cookie = namespace::cookie().map_err(|error| {
            warn!(
                %error,
                "the kernel does not tell which network namespace is this one (Linux 5.14 does), and it is not the machine's \
                 own: the node's own processes are not served; pods are"
            );
            SocketLb::NoNamespace
        })?;
        let tells_errors =
            is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval);
        Ok(Self {
            cookie,
            scope: scope as u32,
            tells_errors: u32::from(tells_errors.unwrap_or(false)),
        })
    }

    /// Puts it into the object.
    pub(in crate::datapath) fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .override_global("NETNS_COOKIE", &self.cookie, true)
            .override_global("SOCKET_SCOPE", &self.scope, true)
            .override_global("TELLS_ERRORS", &self.tells_errors, true);
    }
}

/// Loads them all, or none.
///
/// # Errors
/// Why sockets can't be served. It has been warned of then.
pub(in crate::datapath) fn load(ebpf: &mut Ebpf) -> Result<SocketPrograms, SocketLb> {
    let mut programs = BTreeMap::new();
    for hook in Hook::ALL {
        match load_one(ebpf, hook) {
            Ok(program) => programs.insert(hook, program),
            Err(error) => {
                warn!(
                    error = with_causes(&error),
                    "the node's own processes are not served; pods are"
                );
                return Err(SocketLb::Refused);
            }
        };
    }
    info!(programs = programs.len(), "loaded the programs of sockets");
    Ok(SocketPrograms(programs))
}

fn load_one(ebpf: &mut Ebpf, hook: Hook) -> Result<LoadedProgram, LoadError> {
    let name = hook.program();
    let refused = |source| LoadError::Program {
        program: name,
        source: Box::new(source),
    };
    let program: &mut CgroupSockAddr = ebpf
        .program_mut(name)
        .ok_or(LoadError::MissingProgram(name))?
        .try_into()
        .map_err(refused)?;
    verify(name, || program.load()).map_err(refused)?;
    LoadedProgram::of(
        name,
        program.info().map_err(refused)?,
        program.fd().map_err(refused)?,
    )
}
