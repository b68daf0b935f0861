//! The program of the redirect path on uplinks. Nobody pins its links: without an agent, who would follow pods and rules, the
//! kernel takes it off.
//!
//! By tcx alone: a clsact filter would stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, OwnedFd},
};

use tracing::{debug, info};

use super::{Filters, LinkError, Mechanism, Side, Target, tcx};
use crate::causes::with_causes;
use crate::datapath::load::LoadedProgram;

/// Links on the ingress side of devices.
#[derive(Debug)]
pub struct Uplinks {
    program: Option<LoadedProgram>,
    held: BTreeMap<u32, OwnedFd>,
}

impl Uplinks {
    /// No link yet, and never one where programs are attached by clsact.
    pub(in crate::datapath) fn new(program: LoadedProgram, mechanism: Mechanism) -> Self {
        let program = match mechanism {
            Mechanism::Tcx => Some(program),
            Mechanism::Clsact => {
                info!(
                    "without tcx, packets of other nodes reach their pods through the host's stack"
                );
                None
            }
        };
        Self {
            program,
            held: BTreeMap::new(),
        }
    }

    /// Sees to it that these devices have the program and no others, and returns how many do. With `alone`, one on which
    /// another program or filter runs, which would see nothing of a packet that is delivered, is left out. So is one that takes
    /// no program, until the next call.
    pub fn set(&mut self, wanted: &BTreeSet<u32>, alone: bool) -> usize {
        let Some(program) = &self.program else {
            return 0;
        };
        let mut held = BTreeMap::new();
        for ifindex in wanted {
            match hold(program, *ifindex, self.held.remove(ifindex), alone) {
                Ok(link) => drop(link.map(|link| held.insert(*ifindex, link))),
                Err(error) => {
                    debug!(ifindex, error = %with_causes(&error), "uplink is left to the host's stack");
                }
            }
        }
        // What is left over goes with its descriptor.
        self.held = held;
        self.held.len()
    }
}

fn hold(
    program: &LoadedProgram,
    ifindex: u32,
    held: Option<OwnedFd>,
    alone: bool,
) -> Result<Option<OwnedFd>, LinkError> {
    let device = format!("with ifindex {ifindex}");
    let target = Target {
        ifindex,
        name: &device,
    };
    let side = Side::Ingress;
    let has_filters = || {
        Filters::open()
            .and_then(|filters| filters.has_others(ifindex, side))
            .map_err(target.failed("look for", side))
    };
    if alone && (tcx::has_others(target, side, program.id)? || has_filters()?) {
        return Ok(None);
    }
    match held {
        Some(link) if tcx::holds(&link, target, side)? => Ok(Some(link)),
        _ => tcx::create(target, side, program.as_fd()).map(Some),
    }
}
