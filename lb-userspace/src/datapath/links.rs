//! Programs on devices: one on each side of each workload device, exactly once, replaced in place and never missing in
//! between, and still there when the agent is not.
//!
//! It does not choose the devices. Two mechanisms do the work: `tcx` with links that a pin holds (Linux 6.6 and later), and
//! `clsact` filters, which stay by themselves.

mod attach_points;
mod clsact;
mod tcx;
mod uplinks;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use nix::libc;
use thiserror::Error;
use tracing::{debug, info};

use super::{
    load::{LoadedProgram, Programs},
    pins::{self, PinError, PinPaths},
};
use crate::devices::{Attacher, WatchError};
pub use attach_points::{AttachPoint, Holder, attach_points};
pub(super) use clsact::Filters;
pub(crate) use tcx::is_supported as tcx_is_supported;
pub use uplinks::Uplinks;

/// A side of a device, as the host sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What comes in from the device: packets from the workload.
    Ingress,
    /// What goes out to the device: packets to the workload.
    Egress,
}

impl Side {
    /// Both, in the order of attaching: replies can be translated back before the first request is translated.
    const ATTACH_ORDER: [Self; 2] = [Self::Egress, Self::Ingress];
    /// Both, in the order of detaching.
    const DETACH_ORDER: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ATTACH_ORDER
            .into_iter()
            .find(|side| side.name() == name)
    }

    fn program(self, programs: &Programs) -> &LoadedProgram {
        match self {
            Self::Ingress => &programs.from_workload,
            Self::Egress => &programs.to_workload,
        }
    }
}

/// How programs are to be attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Attach {
    /// By tcx where the kernel has it, else by clsact.
    #[default]
    Auto,
    /// By tcx.
    Tcx,
    /// By clsact.
    Clsact,
}

/// How programs are attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// Links at the device itself.
    Tcx,
    /// Filters of the clsact queueing discipline.
    Clsact,
}

/// What attaching changed on one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing of ours was there.
    Added,
    /// An earlier program was replaced in place.
    Replaced,
    /// There was a pin without use: its device was gone, or another one, or its link was detached. It was removed, and the program attached anew.
    AddedOverStalePin,
}

impl Change {
    /// The same, where something else of ours was removed for it: it took that one's place.
    fn or_replaced(self, removed: bool) -> Self {
        match self {
            Self::Added if removed => Self::Replaced,
            change => change,
        }
    }
}

/// A program could not be attached or detached.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The device is gone. Nothing is wrong, and nothing is to be done.
    #[error("device {device} vanished")]
    Vanished {
        /// Its name, or its ifindex where the name is not known.
        device: String,
    },
    /// tcx was demanded.
    #[error("this kernel has no tcx (it needs Linux 6.6): attach by clsact instead")]
    NoTcx,
    /// An `ingress` queueing discipline is where clsact should be.
    #[error(
        "device {device} has an `ingress` queueing discipline, which has no egress side: remove it with `tc qdisc del dev {device} ingress`"
    )]
    IngressQdisc {
        /// The device.
        device: String,
    },
    /// A pin stands in the way.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The filters.
    #[error("cannot list the filters of the devices of this network namespace")]
    Filters(#[source] io::Error),
    /// The devices.
    #[error(transparent)]
    Devices(#[from] WatchError),
    /// The kernel refused.
    #[error("cannot {action} the program on the {side} side of device {device}", side = .side.name())]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// The side.
        side: Side,
        /// The device.
        device: String,
        /// Why not.
        source: io::Error,
    },
}

/// A device in words and numbers.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    ifindex: u32,
    name: &'a str,
}

impl Target<'_> {
    /// The error of a refused call. A device can vanish at any moment, which is nobody's fault.
    fn failed(
        &self,
        action: &'static str,
        side: Side,
    ) -> impl FnOnce(io::Error) -> LinkError + use<> {
        let device = self.name.to_owned();
        move |source| match source.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => LinkError::Vanished { device },
            _ => LinkError::Kernel {
                action,
                side,
                device,
                source,
            },
        }
    }
}

/// Puts the programs on devices of the network namespace of the thread that calls.
#[derive(Debug)]
pub struct Links {
    programs: Programs,
    paths: PinPaths,
    mechanism: Mechanism,
    /// The folders with the links of other layouts.
    others: Vec<PathBuf>,
}

impl Links {
    /// Links of these programs, pinned at these paths.
    ///
    /// # Errors
    /// If tcx is demanded and the kernel has none, or the pins can't be listed.
    pub fn new(programs: Programs, paths: PinPaths, attach: Attach) -> Result<Self, LinkError> {
        let mechanism = choose(attach, tcx_is_supported())?;
        info!(?attach, ?mechanism, "chose how to attach programs");
        let others = pins::links_of_other_layouts(&paths)?;
        Ok(Self {
            programs,
            paths,
            mechanism,
            others,
        })
    }

    /// How programs are attached.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Sees to it that a device has the current programs, each exactly once: adds them, or replaces in place what an
    /// earlier agent left, be it by the other mechanism. Programs of other layouts are taken off it then, for they would
    /// translate what this one does not any more, by tables that nobody writes. Tells what it changed for each side.
    ///
    /// Adding by tcx takes 5 to 15 ms a side: the kernel waits for an RCU grace period with the lock that all devices share
    /// (`tcx_entry_sync` in `include/net/tcx.h`), so that several threads would not be faster. Replacing takes microseconds.
    ///
    /// # Errors
    /// [`LinkError::Vanished`] if the device is gone. After any error what was attached before still is.
    pub fn attach(&self, ifindex: u32, name: &str) -> Result<[(Side, Change); 2], LinkError> {
        let target = Target { ifindex, name };
        let mut changes = [(Side::Egress, Change::Added); 2];
        for (change, side) in changes.iter_mut().zip(Side::ATTACH_ORDER) {
            *change = (side, self.attach_side(target, side)?);
        }
        debug!(ifindex, device = name, mechanism = ?self.mechanism, ?changes, "attached");
        Ok(changes)
    }

    fn attach_side(&self, target: Target<'_>, side: Side) -> Result<Change, LinkError> {
        let program = side.program(&self.programs);
        let pin = self.paths.link(target.ifindex, side);
        // What the other mechanism and other layouts left goes last: a packet may be seen twice for a moment, which changes
        // nothing in it the second time, but is never missed.
        let change = match self.mechanism {
            Mechanism::Tcx => {
                let change = tcx::attach(target, side, program, &pin)?;
                let filters = Filters::open().map_err(target.failed("look for", side))?;
                let removed = filters.remove(target.ifindex, side);
                let removed = removed.map_err(target.failed("remove the filter of", side))?;
                change.or_replaced(removed > 0)
            }
            Mechanism::Clsact => {
                let change = clsact::attach(target, side, program)?;
                let removed = pins::remove_link(&pin)?;
                change.or_replaced(removed)
            }
        };
        let removed = self.remove_others(target.ifindex, side)?;
        Ok(change.or_replaced(removed))
    }

    /// Takes the programs of other layouts off one side of a device. Returns whether there were any.
    fn remove_others(&self, ifindex: u32, side: Side) -> Result<bool, PinError> {
        let mut any = false;
        for links in &self.others {
            any |= pins::remove_link(&links.join(pins::link_name(ifindex, side)))?;
        }
        Ok(any)
    }

    /// Whether both sides of a device have a program by the chosen mechanism: a link can be detached and a filter removed by
    /// anybody who may attach one, and no notification that an agent gets tells of it.
    ///
    /// # Errors
    /// [`LinkError::Vanished`] if the device is gone.
    pub fn is_attached(&self, ifindex: u32) -> Result<bool, LinkError> {
        let device = format!("with ifindex {ifindex}");
        let target = Target {
            ifindex,
            name: &device,
        };
        for side in Side::ATTACH_ORDER {
            let is_held = match self.mechanism {
                Mechanism::Tcx => {
                    tcx::is_held(target, side, &self.paths.link(ifindex, side))? == Some(true)
                }
                Mechanism::Clsact => Filters::open()
                    .and_then(|filters| filters.has(ifindex, side))
                    .map_err(target.failed("look for", side))?,
            };
            if !is_held {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether no other program or filter runs on either side of a device: one that comes after ours sees nothing of a packet that
    /// is delivered past the stack.
    ///
    /// # Errors
    /// [`LinkError::Vanished`] if the device is gone.
    pub fn is_alone(&self, ifindex: u32) -> Result<bool, LinkError> {
        let device = format!("with ifindex {ifindex}");
        let target = Target {
            ifindex,
            name: &device,
        };
        for side in Side::ATTACH_ORDER {
            let ours = side.program(&self.programs).id;
            if tcx::has_others(target, side, ours)?
                || Filters::open()
                    .and_then(|filters| filters.has_others(ifindex, side))
                    .map_err(target.failed("look for", side))?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the programs off a device, by either mechanism. A device that is gone is no error; its pins are removed.
    ///
    /// # Errors
    /// If something is left.
    pub fn detach(&self, ifindex: u32) -> Result<(), LinkError> {
        let device = format!("with ifindex {ifindex}");
        let target = Target {
            ifindex,
            name: &device,
        };
        for side in Side::DETACH_ORDER {
            pins::remove_link(&self.paths.link(ifindex, side))?;
            self.remove_others(ifindex, side)?;
        }
        for side in Side::DETACH_ORDER {
            let removed = Filters::open().and_then(|filters| filters.remove(ifindex, side));
            match removed.map_err(target.failed("remove", side)) {
                Ok(_) | Err(LinkError::Vanished { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The devices that have a pinned link or one of our filters, whether they exist or not.
    ///
    /// # Errors
    /// If pins or filters can't be listed.
    pub fn devices(&self) -> Result<BTreeSet<u32>, LinkError> {
        let mut pinned = pinned_links(&self.paths.links())?;
        for links in &self.others {
            pinned.extend(pinned_links(links)?);
        }
        let filters = Filters::open().and_then(|filters| filters.held());
        let filtered = filters.map_err(LinkError::Filters)?;
        Ok(pinned
            .into_iter()
            .chain(filtered)
            .map(|(ifindex, _)| ifindex)
            .collect())
    }
}

impl Attacher for Links {
    type Error = LinkError;

    fn attach(&self, ifindex: u32, name: &str) -> Result<(), LinkError> {
        Links::attach(self, ifindex, name).map(drop)
    }

    fn is_attached(&self, ifindex: u32) -> Result<bool, LinkError> {
        Links::is_attached(self, ifindex)
    }

    fn detach(&self, ifindex: u32) -> Result<(), LinkError> {
        Links::detach(self, ifindex)
    }

    fn left_behind(&self) -> Result<BTreeSet<u32>, LinkError> {
        self.devices()
    }

    fn is_final(&self, error: &LinkError) -> bool {
        matches!(error, LinkError::Vanished { .. })
    }
}

fn choose(attach: Attach, tcx_is_supported: bool) -> Result<Mechanism, LinkError> {
    match (attach, tcx_is_supported) {
        (Attach::Auto | Attach::Tcx, true) => Ok(Mechanism::Tcx),
        (Attach::Tcx, false) => Err(LinkError::NoTcx),
        (Attach::Auto, false) | (Attach::Clsact, _) => Ok(Mechanism::Clsact),
    }
}

/// The devices and sides that have a pin of a link in a folder.
fn pinned_links(folder: &Path) -> Result<Vec<(u32, Side)>, PinError> {
    let failed = |error| PinError::new("read the folder", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        found.extend(name.to_str().and_then(pins::link_pin));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcx_is_chosen_where_it_is_supported_unless_clsact_is_demanded() {
        for (attach, supported, expected) in [
            (Attach::Auto, true, Some(Mechanism::Tcx)),
            (Attach::Auto, false, Some(Mechanism::Clsact)),
            (Attach::Tcx, true, Some(Mechanism::Tcx)),
            (Attach::Tcx, false, None),
            (Attach::Clsact, true, Some(Mechanism::Clsact)),
            (Attach::Clsact, false, Some(Mechanism::Clsact)),
        ] {
            assert_eq!(
                choose(attach, supported).ok(),
                expected,
                "{attach:?}, {supported}"
            );
        }
    }

    #[test]
    fn a_call_that_finds_no_device_is_told_from_other_failures() {
        let target = Target {
            ifindex: 5,
            name: "veth5",
        };
        let error =
            |errno| target.failed("attach", Side::Egress)(io::Error::from_raw_os_error(errno));
        assert_eq!(error(libc::ENODEV).to_string(), "device veth5 vanished");
        assert_eq!(
            error(libc::EPERM).to_string(),
            "cannot attach the program on the egress side of device veth5"
        );
    }
}
