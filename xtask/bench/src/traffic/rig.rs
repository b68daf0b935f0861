//! A data plane on its testbed, ready to be measured, and the proof by the kernel's own counters that packets took the way that
//! its name says.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use lab::wait_for;

use super::agent::{self, Agent};
use super::client::Sample;
use super::mode::{Asks, Mode, Place, Plane, Workload};
use super::testbed::Testbed;
use crate::bpf::program::Link;

/// How long a node may take to learn where the pods are.
const PATIENCE: Duration = Duration::from_secs(30);
/// A neighbour may be forgotten in the middle of a measurement, which then is no figure and is taken again.
pub const ATTEMPTS: u32 = 3;
/// What a redirected measurement may leave to the stack: where a neighbour's address is being confirmed, say.
const FEW: u64 = 100;

/// A data plane on a testbed.
pub struct Rig {
    pub plane: Plane,
    pub services: u32,
    /// Of the Services with a local and with a remote backend.
    pub vips: Option<[IpAddr; 2]>,
    // Dropped before the testbed.
    pub agents: Option<[Agent; 2]>,
    /// Of programs that do nothing.
    pub links: Vec<Link>,
    pub testbed: Testbed,
}

impl Rig {
    /// Whether a mode is measured here.
    pub fn is_of(&self, mode: Mode) -> bool {
        (self.plane, self.services) == (mode.plane, mode.services)
    }

    /// Waits until every kind of traffic works and takes the way that it should.
    ///
    /// # Errors
    /// With what does not.
    pub fn settle(&self) -> Result<()> {
        let vips: &[Asks] = match self.vips {
            Some(_) => &[Asks::Vip, Asks::Pod],
            None => &[Asks::Pod],
        };
        let name = || format!("{} with {} Services", self.plane.name(), self.services);
        for &asks in vips {
            let mode = Mode {
                plane: self.plane,
                services: self.services,
                asks,
            };
            for place in Place::ALL {
                for workload in Workload::ALL {
                    self.wait_for_way(mode, place, workload)
                        .with_context(name)?;
                }
            }
        }
        match &self.agents {
            Some(agents) => agent::assert_translates(agents, self.plane, &self.testbed),
            None => Ok(()),
        }
    }

    /// Measures once, after a few requests: nobody may have spoken here for a minute, the time after which the kernel forgets a
    /// neighbour where it knows many, and it counts those of all namespaces together.
    ///
    /// # Errors
    /// With the first transaction that goes wrong, and when packets took another way than they should.
    pub fn measure(
        &self,
        mode: Mode,
        place: Place,
        workload: Workload,
        time: Duration,
    ) -> Result<Sample> {
        for _ in 1..ATTEMPTS {
            self.wait_for_way(mode, place, Workload::TcpRr)?;
            if let (sample, None) = self.once(mode, place, workload, time)? {
                return Ok(sample);
            }
        }
        self.wait_for_way(mode, place, Workload::TcpRr)?;
        let (sample, wrong_way) = self.once(mode, place, workload, time)?;
        wrong_way.map_or(Ok(sample), Err)
    }

    /// Tries until packets take the way that they should. No transaction may fail.
    ///
    /// # Errors
    /// If one does, or packets don't.
    pub fn wait_for_way(&self, mode: Mode, place: Place, workload: Workload) -> Result<()> {
        let mut last = None;
        let found = wait_for("packets to take their way", PATIENCE, || {
            let tried = self.once(mode, place, workload, Duration::from_millis(2));
            match tried {
                Err(error) => Some(Err(error)),
                Ok((_, None)) => Some(Ok(())),
                Ok((_, wrong_way)) => {
                    last = wrong_way;
                    None
                }
            }
        });
        found.map_err(|error| last.unwrap_or(error))?
    }

    /// What was measured, and what is wrong with the way that packets took.
    ///
    /// # Errors
    /// With the first transaction that goes wrong.
    pub fn once(
        &self,
        mode: Mode,
        place: Place,
        workload: Workload,
        time: Duration,
    ) -> Result<(Sample, Option<Error>)> {
        let pod = self.testbed.backend(place).ipv4.into();
        let to = match (mode.asks, self.vips) {
            (Asks::Vip, Some(vips)) => vips[place as usize],
            _ => pod,
        };
        let what = || format!("{}, {}, {}", mode.name(), place.name(), workload.name());
        let before = self.testbed.forwarded()?;
        let sample = self
            .testbed
            .measure(workload, to, time)
            .with_context(what)?;
        let after = self.testbed.forwarded()?;
        for &node in place.nodes() {
            let forwarded = after[node - 1] - before[node - 1];
            let is_right = if self.plane.redirects(node) {
                forwarded <= FEW
            } else {
                forwarded > 0
            };
            if !is_right {
                let wrong = anyhow!(
                    "{}: the stack of node {node} has forwarded {forwarded} packets",
                    what()
                );
                return Ok((sample, Some(wrong)));
            }
        }
        Ok((sample, None))
    }
}
