//! Makes the maps hold what is desired: ordered writes, retries, and the memory of what the maps hold.
//!
//! It has no timer and no thread. The caller calls [`Reconciler::reconcile`] after changes, and again when the outcome
//! says so.

mod actual;
mod backoff;
mod service_cidrs;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use lb_common::vip_filter;
use tracing::{debug, info_span, warn};

use crate::delta::{Compared, Keys, Phase, Step};
use crate::desired::{Consequence, Desired, Problem};
use crate::hashed::HashSet;
use crate::maps::{FrontendAt, MapError, Maps, Op, Walk, row};
use crate::model::ObjectName;
use crate::resolve::ResolvedPort;
use actual::{Actual, Recorded};
use backoff::Backoff;
use service_cidrs::ServiceCidrs;

pub use service_cidrs::CidrProblem;

/// How many failed writes of one pass are logged; the outcome holds one of each Service.
const LOGGED_FAILURES: usize = 10;
/// How many keys are compared and written at once: enough that a system call for each part costs nothing beside its rows, and so
/// few that the writes of everything never are in memory together.
const PART: usize = 1024;

/// What a reconcile has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Number of writes that succeeded, the config's own not counted.
    pub changed: usize,
    /// Number of writes that failed and are tried again.
    pub failed: usize,
    /// Everything that keeps a Service from being served as it was asked for.
    pub problems: Vec<Problem>,
    /// Everything that keeps packets to addresses that no Service has from being dropped.
    pub cidr_problems: Vec<CidrProblem>,
    /// Reconcile again after this time even if nothing changes.
    pub retry_after: Option<Duration>,
}

/// Owner of the maps and of the desired state.
pub struct Reconciler<M> {
    maps: M,
    desired: Desired,
    actual: Actual,
    backoff: Backoff,
    /// The Services of which the rows that were there at the start are kept; none before the first reconcile of complete
    /// sources. Where it changes every other row is compared; else, the touched ones.
    kept: Option<BTreeSet<ObjectName>>,
    cidrs: ServiceCidrs,
    /// Something was written that the config does not count yet.
    unstamped: bool,
}

/// What one pass over the differences has done.
#[derive(Default)]
struct Pass {
    changed: usize,
    failures: Vec<Failure>,
    /// Service ports with a write that failed. Each is left as it is from there on: its new frontend may miss a backend, and
    /// its old frontend still needs the old ones.
    failed: HashSet<u32>,
    /// Frontends that were not there before.
    created: Vec<FrontendAt>,
}

impl Pass {
    fn fail(&mut self, owners: [u32; 2]) {
        self.failed
            .extend(owners.into_iter().filter(|owner| *owner != 0));
    }
}

/// A write that failed.
struct Failure {
    owners: [u32; 2],
    error: MapError,
}

impl<M: Maps> Reconciler<M> {
    /// Reads the maps and goes on from what they hold. Writes nothing.
    pub fn start(maps: M) -> Result<Self, MapError> {
        let actual = Actual::read(&maps)?;
        let contents = actual.contents(&maps);
        let last_epoch = actual.last_epoch(&maps)?;
        let desired = Desired::restore(maps.limits(), &actual.rows, &contents, last_epoch);
        Ok(Self {
            maps,
            desired,
            actual,
            backoff: Backoff::default(),
            kept: None,
            cidrs: ServiceCidrs::default(),
            unstamped: true,
        })
    }

    /// Sets the ports of a Service; none for a Service that is gone or not served. Writes nothing.
    pub fn apply(&mut self, service: &ObjectName, ports: Vec<ResolvedPort>) {
        self.desired.apply(service, ports);
    }

    /// Writes what differs. Must not be called before every source is complete: the first call deletes everything that is
    /// not desired.
    pub fn reconcile(&mut self, now: Instant) -> Outcome {
        self.reconcile_but(now, BTreeSet::new())
    }

    /// As [`Reconciler::reconcile`] where the sources can't read some Services, or slices of them: what was in the maps at
    /// the start of these and they have not asked for is left alone.
    pub fn reconcile_but(&mut self, now: Instant, unread: BTreeSet<ObjectName>) -> Outcome {
        if self.kept.as_ref() != Some(&unread) {
            let leftovers = self.desired.leftovers(&self.actual.rows, &unread);
            self.desired.adopt_no_more(&leftovers);
            let others = leftovers.others(&self.actual.rows);
            self.desired.touch_mut().extend(others);
            self.kept = Some(unread);
        }
        self.reconcile_known(now)
    }

    /// Writes what differs, and leaves alone what was in the maps at the start and no Service has asked for. For sources
    /// that are not complete yet; once they are, [`Reconciler::reconcile`] deletes it.
    pub fn reconcile_known(&mut self, now: Instant) -> Outcome {
        let _span = info_span!("reconcile").entered();
        self.desired.wake(now, self.backoff.is_failing());
        let mut pass = self.write(now);
        if self.withdraw_unwritable(&pass) {
            let again = self.write(now);
            pass.changed += again.changed;
            pass.failures.extend(again.failures);
        }
        let Pass {
            changed, failures, ..
        } = pass;
        self.unstamped |= changed > 0;
        let mut problems: Vec<Problem> = self.desired.problems().cloned().collect();
        problems.extend(self.write_problems(&failures));
        let mut retry_after = None;
        if !failures.is_empty() {
            retry_after = Some(self.backoff.failed());
        } else {
            self.backoff.succeeded();
            if self.unstamped
                && let Err(error) = self.stamp()
            {
                warn!(%error, "the config can't be written");
                retry_after = Some(self.backoff.failed());
            }
        }
        if self.desired.has_room_for_refused() {
            retry_after = Some(Duration::ZERO);
        } else if let Some(wake) = self.desired.next_wake() {
            let wait = wake.saturating_duration_since(now);
            retry_after = Some(retry_after.map_or(wait, |retry| retry.min(wait)));
        }
        debug!(
            changed,
            failed = failures.len(),
            problems = problems.len(),
            "reconciled"
        );
        Outcome {
            changed,
            failed: failures.len(),
            problems,
            cidr_problems: self.cidr_problems().to_vec(),
            retry_after,
        }
    }

    /// Clears the bits of the filter that neither a VIP nor a flow in conntrack needs. Returns how many.
    ///
    /// Reads all of conntrack where a bit may go, so it is for rare calls. Where conntrack can't be read whole, every bit
    /// stays for the next call.
    pub fn collect_vip_bits(&mut self, now: Instant) -> Result<usize, MapError> {
        self.desired.wake(now, false);
        let mut needed: HashSet<u32> = self.desired.filtered_vips().map(row::vip_bit).collect();
        let rows = self.actual.rows.frontends.keys();
        needed.extend(rows.map(|at| row::vip_bit(&at.address())));
        let mut clearable: BTreeSet<u32> = (0..vip_filter::BITS)
            .filter(|bit| {
                let (word, mask) = vip_filter::word_and_mask(*bit);
                self.actual.filter[word as usize] & mask != 0 && !needed.contains(bit)
            })
            .collect();
        if clearable.is_empty() {
            return Ok(0);
        }
        // No flow begins any more at a VIP of these bits, so none can be missed that begins meanwhile.
        let walk = self.maps.flows(&mut |flow| {
            clearable.remove(&row::vip_bit(&flow.frontend.ip()));
        })?;
        if walk == Walk::Incomplete {
            debug!("flows come and go too fast to be read whole, bits of VIPs that are gone stay");
            return Ok(0);
        }
        let ops: Vec<Op> = clearable.into_iter().map(Op::ClearVipBit).collect();
        for (op, result) in ops.iter().zip(self.maps.apply(&ops)) {
            result?;
            self.actual.record(op);
        }
        Ok(ops.len())
    }

    /// The maps.
    pub fn maps(&self) -> &M {
        &self.maps
    }

    /// The maps, for writes that are not the desired state's.
    pub fn maps_mut(&mut self) -> &mut M {
        &mut self.maps
    }

    /// Gives the maps back.
    pub fn into_maps(self) -> M {
        self.maps
    }

    /// One pass over what differs.
    fn write(&mut self, now: Instant) -> Pass {
        let touched = self.desired.take_touched();
        let keys = Keys::new(&touched, self.desired.rows(), self.desired.writes());
        let mut pass = Pass::default();
        self.except_unserved(&mut pass);
        for phase in Phase::ALL {
            for part in keys.parts(phase, PART) {
                let compared = Compared {
                    desired: self.desired.rows(),
                    writes: self.desired.writes(),
                    actual: &self.actual.rows,
                    filter: &self.actual.filter,
                };
                let steps = compared.steps(phase, &keys, part);
                self.run(steps, &mut pass);
            }
            if phase == Phase::SetVipBits && !pass.failures.is_empty() {
                // Behind a clear bit a frontend is not found, so none is put. Deleting stops as well.
                self.desired.touch_mut().extend(touched);
                return pass;
            }
        }
        self.write_service_cidrs(&mut pass);
        self.desired.release(now, &pass.failed);
        pass
    }

    /// Does steps of one phase, those of failed service ports left out.
    fn run(&mut self, steps: Vec<Step>, pass: &mut Pass) {
        let is_blocked = |step: &Step| step.owners.iter().any(|owner| pass.failed.contains(owner));
        let (blocked, runnable) = if pass.failed.is_empty() {
            (Vec::new(), steps)
        } else {
            steps.into_iter().partition(is_blocked)
        };
        for step in blocked {
            // Who had the frontend keeps what it refers to.
            pass.fail(step.owners);
            self.touch_again(&step.op);
        }
        let (ops, owners): (Vec<Op>, Vec<[u32; 2]>) = runnable
            .into_iter()
            .map(|step| (step.op, step.owners))
            .unzip();
        let results = self.maps.apply(&ops);
        for ((op, owners), result) in ops.iter().zip(owners).zip(results) {
            match result {
                Ok(()) => self.succeeded(op, pass),
                Err(error) => {
                    if pass.failures.len() < LOGGED_FAILURES {
                        warn!(%error, "a write failed");
                    }
                    pass.fail(owners);
                    self.touch_again(op);
                    pass.failures.push(Failure { owners, error });
                }
            }
        }
    }

    fn succeeded(&mut self, op: &Op, pass: &mut Pass) {
        pass.changed += 1;
        if let Op::WriteSlots { offset, .. } = op {
            self.desired.written(*offset);
        }
        if self.actual.record(op) == Recorded::New
            && let Op::PutFrontend(at, _) = op
        {
            pass.created.push(*at);
        }
    }

    fn touch_again(&mut self, op: &Op) {
        let touched = self.desired.touch_mut();
        match op {
            Op::DeleteFrontend(at) | Op::PutFrontend(at, _) => {
                touched.frontends.insert(*at);
            }
            Op::PutBackend(id, row) => {
                touched.backends.insert(row.key(*id));
            }
            Op::DeleteBackend(key) => {
                touched.backends.insert(*key);
            }
            Op::PutService(id, _) | Op::DeleteService(id) => {
                touched.services.insert(*id);
            }
            // Tables stay pending until they are written, and a bit is set before its address's row, which is touched.
            Op::WriteSlots { .. } | Op::SetVipBit(_) | Op::ClearVipBit(_) | Op::PutConfig(_) => {}
            // These are compared in every pass.
            Op::PutUnserved(_) | Op::DeleteUnserved(_) | Op::PutServiceCidrs(..) => {}
        }
    }

    /// Takes Services back that the kernel has no room for and that have no working frontend to lose. Whether there were
    /// any.
    fn withdraw_unwritable(&mut self, pass: &Pass) -> bool {
        let mut any = false;
        let created: HashSet<FrontendAt> = pass.created.iter().copied().collect();
        for failure in pass
            .failures
            .iter()
            .filter(|failure| failure.error.is_full())
        {
            let Some(service) = self.desired.service_of(failure.owners[0]).cloned() else {
                continue;
            };
            if self.is_served(&service, &created) {
                continue;
            }
            let problem = write_problem(&service, Consequence::Removed, &failure.error);
            self.desired.withdraw(&service, problem);
            any = true;
        }
        any
    }

    /// Whether the maps hold a frontend of a Service, those left out that are in `except`.
    fn is_served(&self, service: &ObjectName, except: &HashSet<FrontendAt>) -> bool {
        self.desired
            .frontends_of(service)
            .filter(|at| !except.contains(at))
            .any(|at| {
                let row = self.actual.rows.frontends.get(at);
                row.is_some_and(|row| self.desired.service_of(row.service_id()) == Some(service))
            })
    }

    fn write_problems(&self, failures: &[Failure]) -> Vec<Problem> {
        let mut seen = BTreeSet::new();
        let mut problems = Vec::new();
        for failure in failures {
            let owner = failure
                .owners
                .iter()
                .find_map(|owner| self.desired.service_of(*owner));
            if let Some(service) = owner
                && seen.insert(service)
            {
                let consequence = if self.is_served(service, &HashSet::default()) {
                    Consequence::Kept
                } else {
                    Consequence::Removed
                };
                problems.push(write_problem(service, consequence, &failure.error));
            }
        }
        problems
    }

    fn stamp(&mut self) -> Result<(), MapError> {
        let mut config = self.maps.config()?;
        config.generation += 1;
        config.synced_at = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.maps
            .apply(&[Op::PutConfig(config)])
            .into_iter()
            .collect::<Result<(), _>>()?;
        self.unstamped = false;
        Ok(())
    }
}

fn write_problem(service: &ObjectName, consequence: Consequence, error: &MapError) -> Problem {
    Problem::Write {
        service: service.clone(),
        consequence,
        error: error.to_string(),
    }
}
