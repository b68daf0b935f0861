//! Which addresses are nobody's: those of Service CIDRs, the addresses of Services excepted (S-30 d).
//!
//! An address that is not served is excepted before its frontends go, and no longer once they have come; ranges are written after
//! all frontends. Where something has no room, packets to addresses that no Service has pass, as they would without any of this.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::layout::limit;
use lb_common::service_cidr::MOST;
use tracing::warn;

use super::{Failure, Pass, Reconciler};
use crate::maps::{MapError, Maps, Op};
use crate::model::{Cidr, Family, ObjectName};

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct ServiceCidrs {
    /// The ranges; none where they are not known, and those in the map stay.
    known: Option<BTreeSet<Cidr>>,
    /// Addresses that a Service has and that are not served.
    unserved: BTreeSet<IpAddr>,
    /// The maps hold what follows from all of this.
    is_written: bool,
    /// Not all of these could be excepted, by family: `[IPv4, IPv6]`.
    overflows: [bool; 2],
    problems: Vec<CidrProblem>,
}

/// Why packets to some addresses that no Service has are not dropped.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CidrProblem {
    /// More ranges than are compared.
    #[error(
        "there are more than {MOST} Service CIDRs of a family, so packets to addresses of {} that no Service has pass; let fewer, \
         larger ranges take their place", words(.0)
    )]
    TooMany(Vec<Cidr>),
    /// More exceptions than there is room for.
    #[error(
        "more than {most} addresses of {family} are of Services that are not served here, so packets to addresses that no Service \
         has pass", most = limit::UNSERVED, family = name(.0)
    )]
    TooManyUnserved(Family),
}

fn words(ranges: &[Cidr]) -> String {
    let words: Vec<String> = ranges.iter().map(Cidr::to_string).collect();
    words.join(", ")
}

fn name(family: &Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn is_in(ranges: &[Cidr], address: &IpAddr) -> bool {
    ranges.iter().any(|range| range.has(address))
}

/// The ranges of a family that are compared, and those that there is no room for. One that is in another needs none; the
/// largest come first.
fn fitting(ranges: &BTreeSet<Cidr>, family: Family) -> (Vec<Cidr>, Vec<Cidr>) {
    let mut fit: Vec<Cidr> = Vec::new();
    // They are in the order of their length.
    for range in ranges.iter().filter(|range| range.family() == family) {
        if !fit.iter().any(|other| other.contains(range)) {
            fit.push(*range);
        }
    }
    let rest = fit.split_off(fit.len().min(MOST));
    (fit, rest)
}

impl<M: Maps> Reconciler<M> {
    /// Sets the Service CIDRs; none where they are not known, or not of all Services where they are. Writes nothing.
    pub fn set_service_cidrs(&mut self, ranges: Option<BTreeSet<Cidr>>) {
        if ranges.is_some() && self.cidrs.known != ranges {
            self.cidrs.known = ranges;
            self.cidrs.is_written = false;
        }
    }

    /// Sets the addresses of a Service that is not to be served; none for one that is, or is gone. Writes nothing.
    pub fn set_unserved(&mut self, service: &ObjectName, addresses: &[IpAddr]) {
        self.desired.set_unserved(service, addresses);
    }

    /// Excepts the addresses that are not served. Where not all can be, no address of their family is taken for nobody's.
    pub(super) fn except_unserved(&mut self, pass: &mut Pass) {
        if let Some(unserved) = self.desired.take_unserved()
            && unserved != self.cidrs.unserved
        {
            self.cidrs.unserved = unserved;
            self.cidrs.is_written = false;
        }
        if self.cidrs.is_written {
            return;
        }
        let ranges = self.ranges();
        let missing = self.cidrs.unserved.difference(&self.actual.unserved);
        let missing = missing.filter(|address| is_in(&ranges, address));
        let puts: Vec<Op> = missing.copied().map(Op::PutUnserved).collect();
        let mut overflows = [None, None];
        for (op, result) in puts.iter().zip(self.maps.apply(&puts)) {
            match (op, result) {
                (op, Ok(())) => self.note(op, pass),
                (Op::PutUnserved(address), Err(error)) => {
                    overflows[Family::of(address) as usize].get_or_insert(error);
                }
                (_, Err(_)) => {}
            }
        }
        for (family, overflow) in [Family::V4, Family::V6].into_iter().zip(overflows) {
            let before = self.cidrs.overflows[family as usize];
            self.cidrs.overflows[family as usize] = overflow.is_some();
            if let Some(error) = overflow {
                if !before {
                    warn!(%error, "an address of a Service can't be excepted from its Service CIDR");
                }
                self.put_ranges(family, Vec::new(), pass);
            }
        }
    }

    /// Writes the ranges, and excepts no longer what is served now. Not before the sources are complete: a Service that is not
    /// known yet would lose its packets (S-8).
    pub(super) fn write_service_cidrs(&mut self, pass: &mut Pass) {
        if self.kept.is_none() || !pass.failures.is_empty() || self.cidrs.is_written {
            return;
        }
        let mut problems = Vec::new();
        for family in [Family::V4, Family::V6] {
            let overflows = self.cidrs.overflows[family as usize];
            let Some(known) = &self.cidrs.known else {
                continue;
            };
            let (fit, rest) = fitting(known, family);
            if overflows && !fit.is_empty() {
                problems.push(CidrProblem::TooManyUnserved(family));
            } else {
                self.put_ranges(family, fit, pass);
            }
            if !rest.is_empty() {
                problems.push(CidrProblem::TooMany(rest));
            }
        }
        self.cidrs.problems = problems;
        self.forget_served(pass);
        // What had no room is tried again.
        self.cidrs.is_written = pass.failures.is_empty() && self.cidrs.overflows == [false; 2];
    }

    /// Excepts no longer what is served now, or is in no range any more.
    fn forget_served(&mut self, pass: &mut Pass) {
        let ranges = self.ranges();
        let held = self.actual.unserved.iter();
        let surplus = held.filter(|it| !self.cidrs.unserved.contains(it) || !is_in(&ranges, it));
        let deletes: Vec<Op> = surplus.copied().map(Op::DeleteUnserved).collect();
        for (op, result) in deletes.iter().zip(self.maps.apply(&deletes)) {
            match result {
                Ok(()) => self.note(op, pass),
                Err(error) => fail(error, pass),
            }
        }
    }

    /// Why packets to some addresses that no Service has are not dropped.
    pub(super) fn cidr_problems(&self) -> &[CidrProblem] {
        &self.cidrs.problems
    }

    /// The ranges in the maps, and those that are to be there.
    fn ranges(&self) -> Vec<Cidr> {
        let known = self.cidrs.known.iter().flatten();
        known.chain(&self.actual.service_cidrs).copied().collect()
    }

    fn put_ranges(&mut self, family: Family, ranges: Vec<Cidr>, pass: &mut Pass) {
        let now = self.actual.service_cidrs.iter();
        let now = now.filter(|range| range.family() == family);
        if now.copied().collect::<BTreeSet<_>>() == ranges.iter().copied().collect() {
            return;
        }
        let op = Op::PutServiceCidrs(family, ranges);
        for result in self.maps.apply(std::slice::from_ref(&op)) {
            match result {
                Ok(()) => self.note(&op, pass),
                Err(error) => fail(error, pass),
            }
        }
    }

    fn note(&mut self, op: &Op, pass: &mut Pass) {
        pass.changed += 1;
        self.actual.record(op);
    }
}

/// What could not be written is compared again by the next pass.
fn fail(error: MapError, pass: &mut Pass) {
    warn!(%error, "a write failed");
    pass.failures.push(Failure {
        owners: [0, 0],
        error,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ranges: &[&str], family: Family, fit: &[&str], rest: &[&str]) {
        let ranges = ranges.iter().map(|text| text.parse().expect("a range"));
        let (found, left) = fitting(&ranges.collect(), family);
        let texts = |ranges: &[Cidr]| words(ranges);
        assert_eq!(
            (texts(&found), texts(&left)),
            (fit.join(", "), rest.join(", "))
        );
    }

    #[test]
    fn the_largest_ranges_of_a_family_are_compared_and_none_within_another() {
        check(
            &["10.96.1.0/24", "10.96.0.0/12", "fd00::/112", "10.0.0.0/24"],
            Family::V4,
            &["10.96.0.0/12", "10.0.0.0/24"],
            &[],
        );
        check(&["10.96.0.0/12"], Family::V6, &[], &[]);
        let many = [
            "10.9.0.0/24",
            "10.1.0.0/16",
            "10.2.0.0/16",
            "10.3.0.0/16",
            "10.4.0.0/16",
            "10.5.0.0/16",
            "10.6.0.0/16",
            "10.7.0.0/16",
            "10.8.0.0/24",
            "10.1.7.0/24",
        ];
        let fit = [
            "10.1.0.0/16",
            "10.2.0.0/16",
            "10.3.0.0/16",
            "10.4.0.0/16",
            "10.5.0.0/16",
            "10.6.0.0/16",
            "10.7.0.0/16",
            "10.8.0.0/24",
        ];
        check(&many, Family::V4, &fit, &["10.9.0.0/24"]);
    }
}
