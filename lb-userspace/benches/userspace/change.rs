//! One endpoint is exchanged for another, with few and with many other Services beside.

use std::path::Path;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use lb_userspace::maps::Maps;

use crate::SERVICES;
use crate::agent::{Agent, maps_in_kernel};
use crate::clock::{busy, cool};
use crate::cluster;
use crate::nowhere::Nowhere;

/// Measures it.
pub fn measure(criterion: &mut Criterion, bpffs: &Path) {
    let mut group = criterion.benchmark_group("change");
    for services in SERVICES {
        each(&mut group, "nowhere", services, Nowhere::default);
        each(&mut group, "kernel", services, || maps_in_kernel(bpffs));
    }
    group.finish();
}

/// From the source's event to the maps; the pass over what differs alone; and that after a pause.
fn each<M: Maps>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    maps: &str,
    services: u32,
    make: impl Fn() -> M,
) {
    // Made where the first measurement that is asked for begins.
    let mut cluster: Option<Changing<M>> = None;
    for what in ["event-to-maps", "pass", "pass-cold"] {
        let id = BenchmarkId::new(format!("{maps}/{what}"), services);
        group.bench_function(id, |bencher| {
            let cluster = cluster.get_or_insert_with(|| Changing::new(make(), services));
            bencher.iter_custom(|rounds| (0..rounds).map(|_| cluster.change(what)).sum());
        });
    }
}

/// A cluster whose endpoints come and go.
struct Changing<M> {
    agent: Agent<M>,
    services: u32,
    changes: u32,
}

impl<M: Maps> Changing<M> {
    fn new(maps: M, services: u32) -> Self {
        let mut agent = Agent::start(maps);
        agent.take_in(cluster::events(services));
        let outcome = agent.write();
        assert_eq!((outcome.failed, outcome.problems.len()), (0, 0));
        Self {
            agent,
            services,
            changes: 0,
        }
    }

    /// One change; how long the part took that is asked for.
    fn change(&mut self, what: &str) -> Duration {
        self.changes += 1;
        // No two in a row are near each other.
        let number = (u64::from(self.changes) * 7_919 % u64::from(self.services)) as u32;
        let event = cluster::slice_event(number, self.changes);
        let start = busy();
        self.agent.take_in([event]);
        let taken_in = busy() - start;
        if what == "pass-cold" {
            cool();
        }
        let start = busy();
        let outcome = self.agent.write();
        let written = busy() - start;
        assert_eq!((outcome.changed, outcome.failed), (4, 0));
        match what {
            "event-to-maps" => taken_in + written,
            _ => written,
        }
    }
}
