//! Which addresses are taken for nobody's (S-30 d): after every single write, none that a Service has.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use super::*;
use crate::maps::memory::Memory;
use crate::maps::{FrontendAt, Limits, Maps, Op};
use crate::model::{Cidr, Family};
use crate::reconciler::{CidrProblem, Outcome, Reconciler};

const BOTH: [&str; 2] = ["10.96.0.0/12", "fd00:10:96::/112"];

/// A reconciler, and maps on which each of its writes is done again.
struct World {
    reconciler: Reconciler<Memory>,
    replay: Memory,
    /// Addresses that a Service has all the time.
    held: Vec<IpAddr>,
}

impl World {
    fn new() -> Self {
        Self::over(Memory::new(Limits::default()))
    }

    fn over(maps: Memory) -> Self {
        Self {
            replay: maps.clone(),
            reconciler: Reconciler::start(maps).expect("maps in memory can be read"),
            held: Vec::new(),
        }
    }

    fn ranges(&mut self, texts: &[&str]) {
        let ranges = texts.iter().map(|text| text.parse().expect("a range"));
        self.reconciler.set_service_cidrs(Some(ranges.collect()));
    }

    fn serve(&mut self, name: &str, at: &str) {
        self.reconciler.set_unserved(&service(name), &[]);
        self.reconciler
            .apply(&service(name), vec![port(name, &[at], &["10.1.0.1:80"])]);
    }

    fn leave(&mut self, name: &str, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
        self.reconciler.apply(&service(name), Vec::new());
        self.reconciler.set_unserved(&service(name), &addresses);
    }

    fn hold(mut self, addresses: &[&str]) -> Self {
        self.held = addresses.iter().map(|it| it.parse().unwrap()).collect();
        self
    }

    fn reconcile(&mut self) -> Outcome {
        let outcome = self.reconciler.reconcile(Instant::now());
        self.watch();
        outcome
    }

    /// Does the writes again, one by one.
    fn watch(&mut self) {
        for op in self.reconciler.maps_mut().take_log() {
            self.replay.faults.clear();
            assert!(self.replay.apply(std::slice::from_ref(&op))[0].is_ok());
            for address in &self.held {
                assert!(!is_dropped(&self.replay, address), "{address} after {op:?}");
            }
        }
    }

    #[track_caller]
    fn check(&self, dropped: &[&str], passing: &[&str]) {
        let is_dropped = |text: &&&str| is_dropped(&self.replay, &text.parse().unwrap());
        let found: Vec<_> = dropped.iter().chain(passing).filter(is_dropped).collect();
        assert_eq!(found, dropped.iter().collect::<Vec<_>>());
    }
}

/// What the data plane does with a packet to an address.
fn is_dropped(maps: &Memory, address: &IpAddr) -> bool {
    let frontends = maps.frontends().unwrap();
    let at = FrontendAt::address_row(*address);
    maps.service_cidrs()
        .unwrap()
        .iter()
        .any(|it| it.has(address))
        && !maps.unserved().unwrap().contains(address)
        && !frontends.iter().any(|(key, _)| *key == at)
}

#[test]
fn s_30_d_ranges_come_after_frontends_and_a_new_service_is_served_from_then_on() {
    let mut world = World::new().hold(&["10.96.0.1", "fd00:10:96::2"]);
    world.serve("a", "10.96.0.1:80");
    world.serve("b", "[fd00:10:96::2]:80");
    world.ranges(&BOTH);
    world.reconcile();
    let (nobodys, others) = (
        ["10.96.0.2", "fd00:10:96::1"],
        ["10.1.0.1", "fd00:10:97::1"],
    );
    world.check(&nobodys, &others);
    world.serve("c", "10.96.0.2:80");
    world.reconcile();
    world.check(&["10.96.0.3"], &["10.96.0.1", "10.96.0.2"]);
    world.held.clear();
    world.leave("a", &[]);
    world.reconcile();
    world.check(&["10.96.0.1", "10.96.0.3"], &["10.96.0.2"]);
    let again = world.reconcile();
    assert_eq!((again.changed, again.cidr_problems), (0, Vec::new()));
}

#[test]
fn s_8_before_the_sources_are_complete_no_range_is_written_and_none_goes() {
    let mut world = World::new();
    world.ranges(&BOTH);
    world.serve("a", "10.96.0.1:80");
    world.reconciler.reconcile_known(Instant::now());
    world.watch();
    world.check(&[], &["10.96.0.1", "10.96.0.2"]);
    world.reconcile();
    world.check(&["10.96.0.2"], &["10.96.0.1"]);

    let mut next = World::over(world.reconciler.into_maps());
    next.leave("x", &["10.96.0.9"]);
    next.reconciler.reconcile_known(Instant::now());
    next.watch();
    next.check(&["10.96.0.2"], &["10.96.0.1", "10.96.0.9"]);
    // Complete, but of ranges nothing was heard.
    next.serve("a", "10.96.0.1:80");
    next.reconcile();
    next.check(&["10.96.0.2"], &["10.96.0.1", "10.96.0.9"]);
    next.ranges(&["10.112.0.0/16"]);
    next.reconcile();
    next.check(&["10.112.0.1"], &["10.96.0.2"]);
    assert_eq!(next.replay.unserved().unwrap(), [] as [IpAddr; 0]);
    next.ranges(&[]);
    next.reconcile();
    next.check(&[], &["10.112.0.1", "10.96.0.2"]);
}

#[test]
fn s_1_an_address_is_never_nobodys_while_its_service_changes_hands() {
    let mut world = World::new().hold(&["10.96.0.1", "fd00:10:96::1"]);
    world.ranges(&BOTH);
    world.leave("a", &["10.96.0.1"]);
    world.serve("b", "[fd00:10:96::1]:80");
    world.reconcile();
    for _ in 0..2 {
        world.serve("a", "10.96.0.1:80");
        world.leave("b", &["fd00:10:96::1"]);
        world.reconcile();
        assert_eq!(
            world.replay.unserved().unwrap(),
            ["fd00:10:96::1".parse::<IpAddr>().unwrap()]
        );
        world.leave("a", &["10.96.0.1"]);
        world.serve("b", "[fd00:10:96::1]:80");
        world.reconcile();
        assert_eq!(
            world.replay.unserved().unwrap(),
            ["10.96.0.1".parse::<IpAddr>().unwrap()]
        );
    }
    // What is in no range needs no exception.
    world.leave("c", &["192.0.2.1"]);
    world.reconcile();
    assert_eq!(world.replay.unserved().unwrap().len(), 1);
    world.ranges(&["10.96.0.0/12", "192.0.2.0/24"]);
    world.held.push("192.0.2.1".parse().unwrap());
    world.reconcile();
    world.check(&["192.0.2.2"], &[]);
}

#[test]
fn an_address_that_can_not_be_excepted_opens_the_ranges_of_its_family_until_it_can() {
    let mut world = World::new();
    world.ranges(&BOTH);
    world.reconcile();
    world.check(&["10.96.0.2", "fd00:10:96::1"], &[]);
    world.leave("a", &["10.96.0.2"]);
    let next = world.reconciler.maps().tried();
    world.reconciler.maps_mut().faults.insert(next, libc::E2BIG);
    let outcome = world.reconcile();
    world.check(&["fd00:10:96::1"], &["10.96.0.2", "10.96.0.3"]);
    assert_eq!(
        outcome.cidr_problems,
        [CidrProblem::TooManyUnserved(Family::V4)]
    );
    // It is no write that failed: nothing is wrong with what is served.
    assert_eq!((outcome.failed, outcome.retry_after), (0, None));
    world.held.push("10.96.0.2".parse().unwrap());
    let outcome = world.reconcile();
    world.check(&["fd00:10:96::1", "10.96.0.3"], &["10.96.0.2"]);
    assert_eq!(outcome.cidr_problems, []);
}

#[test]
fn no_range_is_written_while_a_frontend_can_not_be() {
    let mut world = World::new().hold(&["10.96.0.1"]);
    world.ranges(&BOTH);
    world.serve("a", "10.96.0.1:80");
    world.reconciler.maps_mut().faults = (0..10).map(|op| (op, libc::EPERM)).collect();
    assert!(world.reconcile().failed > 0);
    world.check(&[], &["10.96.0.2"]);
    world.reconciler.maps_mut().faults.clear();
    assert_eq!(world.reconcile().failed, 0);
    world.check(&["10.96.0.2"], &["10.96.0.1"]);
}

#[test]
fn ranges_that_can_not_be_written_are_tried_again() {
    let mut world = World::new();
    world.ranges(&BOTH);
    world.reconciler.maps_mut().faults.insert(0, libc::ENOMEM);
    let outcome = world.reconcile();
    assert_eq!(outcome.failed, 1);
    assert!(outcome.retry_after.is_some());
    assert_eq!(world.reconcile().failed, 0);
    world.check(&["10.96.0.2", "fd00:10:96::1"], &[]);
    let ranges: BTreeSet<Cidr> = world.replay.service_cidrs().unwrap().into_iter().collect();
    assert_eq!(ranges.len(), 2);
    let more = world.reconciler.maps_mut().take_log();
    assert_eq!(more, [] as [Op; 0]);
}
