//! The flows, each once.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use lb_common::conntrack::Direction;
use serde::Serialize;

use super::columns;
use super::names::Names;
use crate::datapath::Ticks;
use crate::maps::{FlowRow, MapError, Maps, Walk};

/// The data plane's clock at the time of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// The current tick (jiffies, the low 32 bits).
    pub now: u32,
    /// Ticks in a second.
    pub ticks_per_second: u32,
}

impl Clock {
    /// The kernel's clock now.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn now() -> io::Result<Self> {
        let ticks = Ticks::of_kernel()?;
        Ok(Self {
            now: ticks.now()?,
            ticks_per_second: ticks.per_second(),
        })
    }

    /// Whether a flow is anybody's still.
    pub fn is_in_use(&self, flow: &FlowRow) -> bool {
        self.seconds_since(flow.last_seen) <= flow.longest_silence
    }

    /// Whole seconds since a tick; 0 for one that lies ahead, as one stamped meanwhile may.
    fn seconds_since(&self, tick: u32) -> u32 {
        match self.now.wrapping_sub(tick) {
            ahead if ahead > u32::MAX / 2 => 0,
            ticks => ticks / self.ticks_per_second.max(1),
        }
    }
}

/// All flows, or those that were seen.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(transparent)]
pub struct Flows {
    /// The flows.
    pub rows: Vec<FlowView>,
    /// Whether all were seen; no part of the list.
    #[serde(skip)]
    pub walk: Walk,
}

/// A flow, from the client's side.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
pub struct FlowView {
    /// Protocol.
    pub protocol: &'static str,
    /// The client's end.
    pub client: SocketAddr,
    /// The frontend that it speaks to.
    pub frontend: SocketAddr,
    /// The client's port as the backend sees it.
    pub source_port: u16,
    /// The backend that answers.
    pub backend: SocketAddr,
    /// The service port, as `namespace/name:port/PROTOCOL`.
    pub service: String,
    /// What has been seen of it.
    pub state: &'static str,
    /// Seconds since a packet was seen.
    pub idle_seconds: u32,
}

/// Reads the flows of both tables.
pub fn conntrack(maps: &dyn Maps, clock: Clock) -> Result<Flows, MapError> {
    let names = Names::read(maps)?;
    let mut rows = Vec::new();
    // An entry of conntrack comes first, and an older copy of it says nothing.
    let mut seen = HashSet::new();
    let walk = maps.flows(&mut |flow| {
        if flow.direction == Direction::FromClient
            && seen.insert((flow.protocol.number(), flow.client, flow.frontend))
        {
            rows.push(FlowView {
                protocol: flow.protocol.name(),
                client: flow.client,
                frontend: flow.frontend,
                source_port: flow.source_port,
                backend: flow.backend,
                service: names.text(flow.service_id),
                state: flow.state,
                idle_seconds: clock.seconds_since(flow.last_seen),
            });
        }
    })?;
    rows.sort();
    Ok(Flows { rows, walk })
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "PROTOCOL", "CLIENT", "FRONTEND", "SOURCE", "BACKEND", "STATE", "IDLE", "SERVICE",
        ];
        let rows = self.rows.iter().map(|row| {
            [
                row.protocol.to_owned(),
                row.client.to_string(),
                row.frontend.to_string(),
                row.source_port.to_string(),
                row.backend.to_string(),
                row.state.to_owned(),
                format!("{}s", row.idle_seconds),
                row.service.clone(),
            ]
        });
        columns::write(f, head, rows)
    }
}
