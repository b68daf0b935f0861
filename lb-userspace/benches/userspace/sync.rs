//! A whole cluster is taken in, by phase.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Bencher, Criterion};
use lb_userspace::maps::{Maps, Op};
use lb_userspace::model::ObjectName;

use crate::SERVICES;
use crate::agent::{Agent, maps_in_kernel};
use crate::clock::busy;
use crate::cluster;
use crate::nowhere::Nowhere;

/// As many writes at once as the reconciler does.
const PART: usize = 1_024;

/// Writes of some kind.
type Kind = (&'static str, fn(&Op) -> bool);

/// All writes together, and each kind.
const KINDS: [Kind; 6] = [
    ("writes-kernel", |_| true),
    ("writes-kernel-filter", |op| matches!(op, Op::SetVipBit(_))),
    ("writes-kernel-backends", |op| {
        matches!(op, Op::PutBackend(..))
    }),
    ("writes-kernel-slots", |op| {
        matches!(op, Op::WriteSlots { .. })
    }),
    ("writes-kernel-names", |op| matches!(op, Op::PutService(..))),
    ("writes-kernel-frontends", |op| {
        matches!(op, Op::PutFrontend(..))
    }),
];

/// Measures it.
pub fn measure(criterion: &mut Criterion, bpffs: &Path) {
    let services = SERVICES[2];
    let mut group = criterion.benchmark_group("sync");
    group.sample_size(10);
    group.bench_function(format!("index/{services}"), |bencher| {
        each(bencher, || {
            let mut agent = Agent::start(Nowhere::default());
            let events = cluster::events(services);
            timed(|| {
                for event in events {
                    black_box(agent.note(event));
                }
            })
        });
    });
    group.bench_function(format!("resolve/{services}"), |bencher| {
        each(bencher, || {
            let mut agent = Agent::start(Nowhere::default());
            let names = noted(&mut agent, services);
            timed(|| {
                for name in &names {
                    black_box(agent.resolve(name));
                }
            })
        });
    });
    group.bench_function(format!("desired/{services}"), |bencher| {
        each(bencher, || {
            let mut agent = Agent::start(Nowhere::default());
            let names = noted(&mut agent, services);
            let resolved: Vec<_> = names.iter().map(|name| agent.resolve(name)).collect();
            timed(|| {
                for (name, ports) in names.iter().zip(resolved) {
                    agent.desire(name, ports.expect("a Service that is known"));
                }
            })
        });
    });
    group.bench_function(format!("pass-nowhere/{services}"), |bencher| {
        each(bencher, || pass(Nowhere::default(), services));
    });
    group.bench_function(format!("pass-kernel/{services}"), |bencher| {
        each(bencher, || pass(maps_in_kernel(bpffs), services));
    });
    let all = writes(services);
    for (what, is_of) in KINDS {
        // What a kind needs of others it does not miss: no packet comes.
        let ops: Vec<Op> = all.iter().filter(|op| is_of(op)).cloned().collect();
        group.bench_function(format!("{what}/{services}"), |bencher| {
            each(bencher, || {
                let mut maps = maps_in_kernel(bpffs);
                timed(|| {
                    for part in ops.chunks(PART) {
                        assert!(maps.apply(part).iter().all(Result::is_ok));
                    }
                })
            });
        });
    }
    group.finish();
}

/// Each round with what it made before it began to count, and unmade after.
fn each(bencher: &mut Bencher<'_>, mut round: impl FnMut() -> Duration) {
    bencher.iter_custom(|rounds| (0..rounds).map(|_| round()).sum());
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = busy();
    work();
    busy() - start
}

/// Finding the difference and writing it.
fn pass<M: Maps>(maps: M, services: u32) -> Duration {
    let mut agent = Agent::start(maps);
    agent.take_in(cluster::events(services));
    timed(|| {
        let outcome = agent.write();
        assert_eq!((outcome.failed, outcome.problems.len()), (0, 0));
    })
}

/// Takes everything in and returns the names of the Services.
fn noted<M: Maps>(agent: &mut Agent<M>, services: u32) -> Vec<ObjectName> {
    for event in cluster::events(services) {
        agent.note(event);
    }
    (0..services)
        .map(|number| cluster::service(number).name)
        .collect()
}

/// The writes of a whole cluster, in their order.
fn writes(services: u32) -> Vec<Op> {
    let maps = Nowhere {
        log: Some(Vec::new()),
    };
    let mut agent = Agent::start(maps);
    agent.take_in(cluster::events(services));
    agent.write();
    agent.into_maps().log.unwrap_or_default()
}
