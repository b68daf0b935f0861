//! What is measured: packets, and what they have in common.

use lb_common::reason::Reason;
use serde::Serialize;

use super::operations::Counted;

/// Which program a packet runs through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `from_workload`.
    FromPod,
    /// `to_workload`.
    ToPod,
}

/// The packets of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packets {
    /// Run again and again: all that it touches is in the nearest cache.
    Hot(Direction, Hot),
    /// One packet of an established flow, which is handed over past the stack; its headers are written anew before each run.
    Redirected,
    /// Packets to the VIPs, all in one loop of the kernel's, each of another flow.
    Loop(Flows),
    /// Packets to the VIPs, each run by a system call of its own.
    Fresh(Flows),
}

/// What packets to the VIPs belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flows {
    /// So many established flows, in random order.
    Established(u32),
    /// Flows that never were: each packet begins one.
    New,
}

/// A packet that is run again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hot {
    /// Of an established flow.
    Established,
    /// Between two pods, of no flow.
    Unrelated,
}

/// A case, with what it should cost at most.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The goal's number, or nothing.
    pub goal: &'static str,
    pub what: &'static str,
    pub packets: Packets,
    /// In nanoseconds over an empty program: the least that may ship, and the goal.
    pub limits: Option<[f64; 2]>,
}

/// With tables as they are by default.
// A case a line, as in the table that they become.
#[rustfmt::skip]
pub const USUAL: &[Case] = &[
    Case { goal: "P7", what: "established, to the backend", packets: Packets::Hot(Direction::FromPod, Hot::Established), limits: Some([80.0, 35.0]) },
    Case { goal: "P7", what: "established, back to the client", packets: Packets::Hot(Direction::ToPod, Hot::Established), limits: Some([80.0, 35.0]) },
    Case { goal: "P10", what: "for no Service, from a pod", packets: Packets::Hot(Direction::FromPod, Hot::Unrelated), limits: Some([15.0, 4.0]) },
    Case { goal: "P10", what: "of no flow, to a pod", packets: Packets::Hot(Direction::ToPod, Hot::Unrelated), limits: Some([15.0, 4.0]) },
    Case { goal: "P8", what: "established, 128 000 flows", packets: Packets::Loop(Flows::Established(128_000)), limits: Some([250.0, 110.0]) },
    Case { goal: "P11b", what: "fresh, one established flow", packets: Packets::Fresh(Flows::Established(1)), limits: Some([300.0, 150.0]) },
    Case { goal: "P11b", what: "fresh, 10 000 established flows", packets: Packets::Fresh(Flows::Established(10_000)), limits: Some([600.0, 380.0]) },
];

/// With the redirect path on.
#[rustfmt::skip]
pub const REDIRECT: &[Case] = &[
    Case { goal: "P7", what: "established, past the stack to the backend", packets: Packets::Redirected, limits: Some([90.0, 45.0]) },
];

/// With room for every flow that begins.
#[rustfmt::skip]
pub const ROOMY: &[Case] = &[
    Case { goal: "P9", what: "each begins a flow, table with room", packets: Packets::Loop(Flows::New), limits: Some([450.0, 190.0]) },
    Case { goal: "P11b", what: "fresh, each begins a flow", packets: Packets::Fresh(Flows::New), limits: Some([1_000.0, 490.0]) },
];

/// With tables that are full.
#[rustfmt::skip]
pub const FULL: &[Case] = &[
    Case { goal: "P9", what: "each begins a flow, table full", packets: Packets::Loop(Flows::New), limits: Some([500.0, 155.0]) },
];

impl Packets {
    /// How many packets are run again and again, each by itself. Whether an address collides with a backend's in the filter is luck,
    /// so that the packet of no flow has many.
    pub fn frames(self) -> u32 {
        match self {
            Self::Hot(_, Hot::Unrelated) => 64,
            _ => 1,
        }
    }

    /// The program that they run through.
    pub fn direction(self) -> Direction {
        match self {
            Self::Hot(direction, _) => direction,
            Self::Redirected | Self::Loop(_) | Self::Fresh(_) => Direction::FromPod,
        }
    }

    /// What each of them is counted as.
    pub fn reasons(self) -> &'static [Reason] {
        match self {
            Self::Hot(_, Hot::Unrelated) => &[],
            Self::Hot(Direction::ToPod, Hot::Established) => &[Reason::Reply],
            Self::Redirected => &[Reason::Forward, Reason::Delivered],
            Self::Hot(Direction::FromPod, Hot::Established)
            | Self::Loop(Flows::Established(_))
            | Self::Fresh(Flows::Established(_)) => &[Reason::Forward],
            Self::Loop(Flows::New) | Self::Fresh(Flows::New) => &[Reason::NewFlow],
        }
    }
}

/// What a case came to.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub goal: &'static str,
    pub what: &'static str,
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    pub services: u32,
    pub limits: Option<[f64; 2]>,
    /// On maps, for each packet.
    pub operations: Counted,
    /// Instructions that the verifier walked of the packets' program; none before Linux 5.16.
    pub verified: Option<u32>,
    /// Over an empty program, one for each round.
    pub nanoseconds: Vec<f64>,
}
