//! Whether a Service gets the place that it wants, keeps the one that it has, or has none.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::service::ServiceName;

use super::Desired;
use super::placed::PlacedPorts;
use super::plan::{Planner, SlotWrites, Target};
use super::problem::{Consequence, Exhausted, Problem};
use crate::few::Few;
use crate::hashed::{HashMap, HashSet};
use crate::maps::FrontendAt;
use crate::model::ObjectName;
use crate::resolve::ResolvedPort;

impl Desired {
    /// Gives a Service its place according to what is wanted now.
    pub(super) fn place(&mut self, service: &ObjectName) {
        self.unserved_changed |= self.problems.remove(service).is_some();
        self.refused.remove(service);
        let wanted = self.wanted.get(service).cloned().unwrap_or_default();
        let mut problems = Vec::new();
        let targets = self.targets(&wanted, &mut problems);
        if let Err(reason) = self.place_targets(service, &targets) {
            let consequence = if self.is_still_good(service, &targets) {
                Consequence::Kept
            } else {
                self.replace(service, PlacedPorts::new(), SlotWrites::new());
                Consequence::Removed
            };
            problems.push(Problem::Exhausted {
                service: service.clone(),
                consequence,
                reason,
            });
            self.refused.insert(service.clone());
        }
        if !problems.is_empty() {
            self.unserved_changed = true;
            self.problems.insert(service.clone(), problems);
        }
    }

    /// The ports that get a place: those with a good name that have won a frontend.
    fn targets<'a>(
        &self,
        wanted: &'a [ResolvedPort],
        problems: &mut Vec<Problem>,
    ) -> Vec<Target<'a>> {
        let mut targets = Vec::new();
        let mut names = HashSet::default();
        for port in wanted {
            if !names.insert(&port.name) {
                problems.push(Problem::DuplicatePort {
                    port: port.name.clone(),
                });
                continue;
            }
            let id = &port.name;
            let name = ServiceName::new(
                &id.service.namespace,
                &id.service.name,
                &id.port_name,
                id.protocol,
            );
            let Some(name) = name else {
                problems.push(Problem::NameTooLong { port: id.clone() });
                continue;
            };
            let mut frontends = Few::new();
            for socket in &port.frontends {
                let at = FrontendAt::new(*socket, id.protocol);
                match self.claims.winner(&at) {
                    Some(winner) if winner != id => problems.push(Problem::Conflict {
                        port: id.clone(),
                        frontend: at,
                        winner: winner.clone(),
                    }),
                    _ => {
                        frontends.insert(at, ());
                    }
                }
            }
            if !frontends.is_empty() {
                targets.push(Target {
                    port,
                    name: Arc::new(name),
                    frontends,
                });
            }
        }
        targets
    }

    fn place_targets(
        &mut self,
        service: &ObjectName,
        targets: &[Target<'_>],
    ) -> Result<(), Exhausted> {
        self.check_frontends(service, targets)?;
        let none = PlacedPorts::new();
        let old = self.placed.get(service).unwrap_or(&none);
        let settled = self.settled;
        let planner = Planner::new(&mut self.pool, &mut self.adoptable, &self.writes, settled);
        let plan = planner.plan(targets, old)?;
        self.replace(service, plan.ports, plan.writes);
        Ok(())
    }

    /// Whether the frontends of a Service would fit, the addresses' own rows counted.
    fn check_frontends(
        &self,
        service: &ObjectName,
        targets: &[Target<'_>],
    ) -> Result<(), Exhausted> {
        let new: BTreeSet<&FrontendAt> = targets
            .iter()
            .flat_map(|target| target.frontends.keys())
            .collect();
        let old: BTreeSet<&FrontendAt> = self.owned_frontends(service).collect();
        let mut change = [0_i64; 2];
        let mut vips: HashMap<IpAddr, i64> = HashMap::default();
        for at in new
            .iter()
            .filter(|at| !self.rows.frontends.contains_key(at))
        {
            change[at.family() as usize] += 1;
            *vips.entry(at.address()).or_default() += 1;
        }
        for at in old.difference(&new) {
            change[at.family() as usize] -= 1;
            *vips.entry(at.address()).or_default() -= 1;
        }
        for (vip, difference) in vips {
            let before = i64::from(self.vips.get(&vip).map_or(0, |vip| vip.frontends));
            let family = FrontendAt::address_row(vip).family() as usize;
            change[family] += i64::from(before + difference > 0) - i64::from(before > 0);
        }
        for (used, change) in self.frontends_used.iter().zip(change) {
            if let Ok(needed) = u32::try_from(change) {
                self.pool.check_frontends(needed, *used)?;
            }
        }
        Ok(())
    }

    /// Whether the place that a Service has does no harm: the same frontends and policy, and no endpoint that is gone.
    fn is_still_good(&self, service: &ObjectName, targets: &[Target<'_>]) -> bool {
        let Some(placed) = self.placed.get(service) else {
            return false;
        };
        placed.len() == targets.len()
            && targets.iter().all(|target| {
                placed.get(&target.port.name).is_some_and(|old| {
                    let endpoints: HashSet<_> =
                        target.port.endpoints.iter().map(|e| e.address).collect();
                    old.frontends == target.frontends
                        && old.internal_local == target.port.internal_local
                        && old.selected().all(|at| endpoints.contains(at))
                })
            })
    }
}
