//! Programs at a device itself (tcx, Linux 6.6), each held by a link that a pin holds.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::libc;
use tracing::info;

use super::{Change, LinkError, Side, Target};
use crate::datapath::{
    bpf::{self, AttachType, ObjectKind},
    load::LoadedProgram,
    pins::{self, PinError},
};

/// Whether the kernel has tcx. Asks what is attached to a device that does not exist: a kernel with tcx misses the device,
/// another one does not understand the question.
pub(crate) fn is_supported() -> bool {
    const NO_DEVICE: u32 = i32::MAX as u32;
    match bpf::query(NO_DEVICE, AttachType::TcxIngress) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::ENODEV),
    }
}

/// Replaces the program of the pinned link, or attaches and pins a new one.
pub(super) fn attach(
    target: Target<'_>,
    side: Side,
    program: &LoadedProgram,
    pin: &Path,
) -> Result<Change, LinkError> {
    let mut change = Change::Added;
    if let Some(link) = open(pin)? {
        if holds(&link, target, side)? {
            match bpf::link_update(link.as_fd(), program.as_fd()) {
                Ok(()) => return Ok(Change::Replaced),
                // The device went away between the two calls.
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                Err(error) => return Err(target.failed("replace", side)(error)),
            }
        }
        info!(
            ifindex = target.ifindex,
            device = target.name,
            side = side.name(),
            "removed the pin of a link that is at no device any more"
        );
        pins::remove_link(pin)?;
        change = Change::AddedOverStalePin;
    }
    let link = create(target, side, program.as_fd())?;
    // Until it is pinned the link lives as long as this descriptor: a failure here leaves nothing behind.
    bpf::pin(link.as_fd(), pin).map_err(|error| PinError::new("make the pin", pin, error))?;
    Ok(change)
}

/// Attaches a program by a link that lives as long as the descriptor.
pub(super) fn create(
    target: Target<'_>,
    side: Side,
    program: BorrowedFd<'_>,
) -> Result<OwnedFd, LinkError> {
    bpf::link_create(program, target.ifindex, at(side)).map_err(target.failed("attach", side))
}

/// Whether the pinned link holds a program on this side of this device; none if there is no pin.
pub(super) fn is_held(
    target: Target<'_>,
    side: Side,
    pin: &Path,
) -> Result<Option<bool>, LinkError> {
    open(pin)?
        .map(|link| holds(&link, target, side))
        .transpose()
}

/// Whether a program other than `ours` runs on this side of the device; never where the kernel has no tcx.
pub(super) fn has_others(target: Target<'_>, side: Side, ours: u32) -> Result<bool, LinkError> {
    match bpf::query(target.ifindex, at(side)) {
        Ok(attached) => Ok(attached.iter().any(|a| a.program_id != ours)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(target.failed("look for others than", side)(error)),
    }
}

fn open(pin: &Path) -> Result<Option<OwnedFd>, PinError> {
    match bpf::get(pin) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PinError::new("open the pin", pin, error)),
    }
}

/// Whether a link is attached to this very side of this very device. The ifindex alone does not tell: a device that moved
/// to another namespace may have the same one there.
pub(super) fn holds(link: &OwnedFd, target: Target<'_>, side: Side) -> Result<bool, LinkError> {
    let failed = || target.failed("inspect the link of", side);
    if bpf::kind(link.as_fd()).map_err(failed())? != ObjectKind::Link {
        return Ok(false);
    }
    let Some(link) = bpf::tcx_link(link.as_fd()).map_err(failed())? else {
        return Ok(false);
    };
    if link.ifindex != target.ifindex || link.attach_type != at(side) as u32 {
        return Ok(false);
    }
    let attached = bpf::query(target.ifindex, at(side)).map_err(failed())?;
    Ok(attached.iter().any(|a| a.link_id == link.id))
}

fn at(side: Side) -> AttachType {
    match side {
        Side::Ingress => AttachType::TcxIngress,
        Side::Egress => AttachType::TcxEgress,
    }
}
