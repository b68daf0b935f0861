//! What is on which device, as pins and filters tell it: for the status, with or without an agent.
//!
//! It changes nothing, and does not know which devices an agent was told to serve: which ought to have programs is told by
//! the default selector.

use std::collections::BTreeMap;

use nix::net::if_::if_indextoname;
use serde::Serialize;

use super::{Filters, LinkError, Side, Target, pinned_links, tcx};
use crate::{
    datapath::pins::PinPaths,
    devices::{self, Selector},
};

/// A device that has our programs, had them, or ought to have them.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct AttachPoint {
    /// Its ifindex.
    pub ifindex: u32,
    /// Its name, none if no device of this network namespace has that ifindex.
    pub device: Option<String>,
    /// What holds the program for packets from the workload; nothing if it is missing.
    pub ingress: Vec<Holder>,
    /// What holds the program for packets to the workload; nothing if it is missing.
    pub egress: Vec<Holder>,
}

/// What holds a program on a side of a device.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// A pinned tcx link.
    Tcx,
    /// A clsact filter.
    Clsact,
    /// A pin that holds nothing any more: the link's device is gone from this network namespace, or
    /// somebody detached the link.
    Gone,
}

impl Holder {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Gone => "gone",
        }
    }
}

/// The devices with a pinned link or one of our filters and, with or without, the workload devices by the default selector,
/// in the network namespace of the calling thread, by ifindex.
///
/// # Errors
/// If a pin exists and can't be read, or filters or devices can't be listed.
pub fn attach_points(paths: &PinPaths) -> Result<Vec<AttachPoint>, LinkError> {
    let mut points = BTreeMap::new();
    for (ifindex, side) in pinned_links(&paths.links())? {
        let device = format!("with ifindex {ifindex}");
        let target = Target {
            ifindex,
            name: &device,
        };
        let holder = match tcx::is_held(target, side, &paths.link(ifindex, side)) {
            Ok(None) => continue,
            Ok(Some(true)) => Holder::Tcx,
            Ok(Some(false)) | Err(LinkError::Vanished { .. }) => Holder::Gone,
            Err(error) => return Err(error),
        };
        add(&mut points, ifindex, side, holder);
    }
    let filters = Filters::open().and_then(|filters| filters.held());
    for (ifindex, side) in filters.map_err(LinkError::Filters)? {
        add(&mut points, ifindex, side, Holder::Clsact);
    }
    for device in devices::list()? {
        if devices::is_workload(&device, &Selector::Peers) {
            points.entry(device.ifindex).or_insert(AttachPoint {
                ifindex: device.ifindex,
                device: Some(device.name),
                ingress: Vec::new(),
                egress: Vec::new(),
            });
        }
    }
    Ok(points.into_values().collect())
}

fn add(points: &mut BTreeMap<u32, AttachPoint>, ifindex: u32, side: Side, holder: Holder) {
    let point = points.entry(ifindex).or_insert_with(|| AttachPoint {
        ifindex,
        device: name(ifindex),
        ingress: Vec::new(),
        egress: Vec::new(),
    });
    match side {
        Side::Ingress => point.ingress.push(holder),
        Side::Egress => point.egress.push(holder),
    }
}

fn name(ifindex: u32) -> Option<String> {
    let name = if_indextoname(ifindex).ok()?;
    // nix 0.31 takes the null pointer of a failure for success, and its untouched buffer for a name.
    (!name.is_empty()).then(|| name.to_string_lossy().into_owned())
}
