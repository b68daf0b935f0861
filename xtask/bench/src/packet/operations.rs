//! What a packet costs in operations on maps: the decisions that the kernel's programs take, taken in memory and counted. No other load
//! on the machine changes them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::net::IpAddr;

use lb_common::addr::Protocol;
use lb_common::packet::{self, ETHERNET, Parse};
use lb_common::pipeline::deliver::{self, Arrival, Pods, Way};
use lb_common::redirect::{LocalPod, RemotePods};
use lb_common::testing::{MemoryDataplane, Operations};
use serde::Serialize;

use super::case::{Direction, Flows, Packets};
use super::frames::{self, OPENING};
use super::pods;
use super::services::PORT;

/// How often a packet asks for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Loads from arrays.
    pub loads: u32,
    /// Lookups of rows other than flows.
    pub lookups: u32,
    /// Flows that are looked for.
    pub finds: u32,
    /// Flows that are stored, renewed or removed.
    pub flows_written: u32,
    /// Other rows that are written.
    pub rows_written: u32,
}

impl Counted {
    /// Of a packet of a case, where the VIP's Service has one endpoint, which has the VIP's own address; within the second in which
    /// an established flow was last stamped.
    pub fn of(packets: Packets, vip: IpAddr) -> Self {
        let counted = match vip {
            IpAddr::V4(v4) => count(packets, vip, v4.octets()),
            IpAddr::V6(v6) => count(packets, vip, v6.octets()),
        };
        let Operations {
            loads,
            lookups,
            finds,
            flows_written,
            rows_written,
        } = counted;
        Self {
            loads,
            lookups,
            finds,
            flows_written,
            rows_written,
        }
    }
}

/// As it stands in a table.
impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.loads, "load", "loads"),
            (self.lookups, "lookup", "lookups"),
            (self.finds, "flow sought", "flows sought"),
            (self.flows_written, "flow written", "flows written"),
            (self.rows_written, "row written", "rows written"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
            .collect();
        f.write_str(&parts.join(", "))
    }
}

fn count<A: Parse + Hash + Into<IpAddr>>(packets: Packets, vip: IpAddr, octets: A) -> Operations {
    const CLIENT: u32 = 0;
    let mut dp = MemoryDataplane::new();
    dp.serve(1, octets, PORT, Protocol::Tcp, &[(octets, PORT)]);
    let is_new = matches!(
        packets,
        Packets::Loop(Flows::New) | Packets::Fresh(Flows::New)
    );
    for (direction, flags) in OPENING.into_iter().filter(|_| !is_new) {
        let mut frame = frames::segment(CLIENT, vip, flags, direction);
        match direction {
            Direction::FromPod => dp.send(&mut frame),
            Direction::ToPod => dp.receive(&mut frame),
        };
    }
    let frame = frames::packet(packets, CLIENT, vip);
    let mut operations = match packets.direction() {
        Direction::FromPod => dp.operations_to_send(&frame),
        Direction::ToPod => dp.operations_to_receive(&frame),
    };
    if packets == Packets::Redirected {
        operations.lookups += lookups_to_deliver::<A>(&frame, vip);
    }
    operations
}

/// Lookups of pods, which tell how a packet is handed over. It is the same before and after its translation.
fn lookups_to_deliver<A: Parse + Into<IpAddr>>(frame: &[u8], vip: IpAddr) -> u32 {
    const DEVICE: u32 = pods::LOOPBACK + 1;
    let known = Known {
        rows: pods::rows(vip, DEVICE),
        lookups: Cell::new(0),
        family: PhantomData::<A>,
    };
    let arrival = Arrival {
        ifindex: pods::LOOPBACK,
        destination: pods::NODE_MAC,
        is_for_device: false,
        hop_limit: u8::MAX,
    };
    if let Ok(packet) = packet::parse::<A>(frame, ETHERNET) {
        let delivery = deliver::from_pod(&known, &packet, &arrival);
        debug_assert_eq!(delivery.way, Way::Routed);
    }
    known.lookups.get()
}

/// Pods in memory, which count how often they are asked for.
struct Known<A> {
    rows: BTreeMap<IpAddr, LocalPod>,
    lookups: Cell<u32>,
    family: PhantomData<A>,
}

impl<A> Known<A> {
    fn ask(&self) {
        self.lookups.set(self.lookups.get() + 1);
    }
}

impl<A: Parse + Into<IpAddr>> Pods for Known<A> {
    type Address = A;

    fn local_pod(&self, address: &A) -> Option<LocalPod> {
        self.ask();
        self.rows.get(&(*address).into()).copied()
    }

    fn remote_pods(&self, _: &A) -> Option<RemotePods<A>> {
        self.ask();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::{FULL, REDIRECT, ROOMY, USUAL};
    use super::super::services::vips;
    use super::*;

    #[test]
    fn every_case_has_its_operations_in_either_family() {
        let expected = [
            "1 load, 1 flow sought",
            "1 load, 1 flow sought",
            "2 loads",
            "1 load",
            "1 load, 1 flow sought",
            "1 load, 1 flow sought",
            "1 load, 1 flow sought",
            "1 load, 2 lookups, 1 flow sought",
            "4 loads, 1 lookup, 2 flows sought, 1 flow written",
            "4 loads, 1 lookup, 2 flows sought, 1 flow written",
            "4 loads, 1 lookup, 2 flows sought, 1 flow written",
        ];
        for vip in vips(0) {
            let cases = USUAL.iter().chain(REDIRECT).chain(ROOMY).chain(FULL);
            let counted: Vec<_> = cases
                .map(|case| Counted::of(case.packets, vip).to_string())
                .collect();
            assert_eq!(counted, expected, "{vip}");
        }
    }
}
