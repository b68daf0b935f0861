//! Pods that packets can be handed to past the host's stack: devices and rows, as an agent with `--redirect=on` finds and writes them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use lab::{Device, Netns};
use lb_common::packet::TcpFlags;
use lb_common::redirect::LocalPod;

use super::case::Direction;
use super::frames::{self, segment};

/// Where the runs take place: what is run is received by the loopback device.
pub const LOOPBACK: u32 = 1;
/// The Ethernet address that frames are addressed to: the node's own, so that it forwards them.
pub const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const POD_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A device that packets could be sent to, in a namespace that the caller's thread is in from here on.
///
/// # Errors
/// When something of it can't be made.
pub fn enter_beside_a_device() -> Result<u32> {
    let netns = Netns::create("packet-pods")?;
    netns.ip(&[
        "link set lo up",
        "link add name pod0 type veth peer name pod1",
        "link set pod0 up",
    ])?;
    let device = Device::new(&netns, "pod0").index()?;
    netns.enter()?;
    Ok(device)
}

/// The first client, from where the runs take place, and whom it speaks to, behind the device. Both are a hop away from the node.
pub fn rows(vip: IpAddr, device: u32) -> BTreeMap<IpAddr, LocalPod> {
    BTreeMap::from([
        (
            frames::client(&vip, 0),
            LocalPod::new(LOOPBACK, POD_MAC, NODE_MAC),
        ),
        (vip, LocalPod::new(device, POD_MAC, NODE_MAC)),
    ])
}

/// A packet of the first client's established flow, which the node is to forward.
pub fn packet(vip: IpAddr) -> Vec<u8> {
    let mut frame = segment(0, vip, TcpFlags::ACK, Direction::FromPod);
    frame[..6].copy_from_slice(&NODE_MAC);
    frame
}
