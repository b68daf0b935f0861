//! The agent's programs, loaded as an agent loads them.

use std::os::fd::AsFd;

use anyhow::{Result, anyhow};
use lb_userspace::datapath::{Datapath, Delivery, Loader, PinPaths, Programs, object};
use lb_userspace::maps::Limits;

use crate::bpf::program::Program;

/// How an agent loads them.
pub struct Agent {
    pub paths: PinPaths,
    pub limits: Limits,
    /// Whether packets may be handed over past the host's stack.
    pub redirect: bool,
    /// Whether they are.
    pub hands_over: bool,
}

/// The programs, for as long as they are needed.
pub struct Loaded {
    pub from_pod: Program,
    pub to_pod: Program,
    datapath: Datapath,
    /// What hands packets over, where something does.
    _delivery: Option<Delivery>,
}

impl Agent {
    /// Loads them; what is pinned is taken over.
    ///
    /// # Errors
    /// If the kernel refuses a program or a map, or can't hand packets over.
    pub fn load(&self) -> Result<Loaded> {
        let mut datapath = Loader {
            object: object::for_kernel()?,
            paths: &self.paths,
            limits: self.limits,
            sockets: None,
            redirect: self.redirect,
        }
        .load()?;
        let mut delivery = None;
        if self.hands_over {
            let switch = datapath.take_delivery();
            let switch = switch.map_err(|it| anyhow!("{it:?}: the kernel hands nothing over"))?;
            delivery.insert(switch).turn_on()?;
        }
        let programs = datapath.programs();
        Ok(Loaded {
            from_pod: Program::of(programs.from_workload.as_fd())?,
            to_pod: Program::of(programs.to_workload.as_fd())?,
            datapath,
            _delivery: delivery,
        })
    }
}

impl Loaded {
    /// What is known of them.
    pub fn programs(&self) -> &Programs {
        self.datapath.programs()
    }
}
