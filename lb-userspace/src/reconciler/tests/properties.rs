//! Any sequence of changes, faults and restarts: the maps are whole after every write, end as if written from scratch,
//! and a restart on the same input writes nothing.

use std::collections::BTreeMap;

use lb_common::addr::Protocol;
use proptest::collection::vec;
use proptest::prelude::*;

use super::service;
use super::watched::Watched;
use crate::maps::{Limits, Maps, Op};
use crate::model::{Families, Family, ObjectName, ServicePortName};
use crate::resolve::{EndpointState, ResolvedEndpoint, ResolvedPort};

#[derive(Clone, Debug)]
enum Event {
    Apply(&'static str, Vec<ResolvedPort>),
    Reconcile,
    Wait(u64),
    Fault { after: usize, errno: i32 },
    Restart,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn endpoint() -> impl Strategy<Value = ResolvedEndpoint> {
    let addresses = [
        "10.1.0.1:80",
        "10.1.0.2:80",
        "10.1.0.3:80",
        "10.1.0.3:81",
        "[fd00::1]:80",
        "[fd00::2]:80",
    ];
    (
        prop::sample::select(addresses.to_vec()),
        any::<bool>(),
        prop::bool::weighted(0.8),
        any::<bool>(),
    )
        .prop_map(|(address, active, cluster, local)| ResolvedEndpoint {
            address: address.parse().unwrap(),
            state: if active {
                EndpointState::Active
            } else {
                EndpointState::Terminating
            },
            cluster,
            local,
        })
}

/// Service ports that contend for a handful of frontends.
fn resolved_port(
    name: &'static str,
    port_name: &'static str,
) -> impl Strategy<Value = ResolvedPort> {
    let frontends = [
        "10.96.0.1:80",
        "10.96.0.2:80",
        "10.96.0.2:81",
        "[fd96::1]:80",
    ];
    let frontends = prop::sample::subsequence(frontends.to_vec(), 0..3);
    (frontends, vec(endpoint(), 0..8), 0_i64..3, any::<bool>()).prop_map(
        move |(frontends, endpoints, created, internal_local)| {
            let endpoints: BTreeMap<_, _> = endpoints.into_iter().map(|e| (e.address, e)).collect();
            let has = |family| {
                endpoints
                    .values()
                    .any(|e| Family::of(&e.address.ip()) == family)
            };
            ResolvedPort {
                name: ServicePortName {
                    service: service(name),
                    port_name: port_name.into(),
                    protocol: Protocol::Tcp,
                },
                created,
                frontends: frontends.iter().map(|at| at.parse().unwrap()).collect(),
                has_endpoints: [has(Family::V4), has(Family::V6)],
                endpoints: endpoints.into_values().collect(),
                internal_local,
                affinity_seconds: 0,
            }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let apply = prop::sample::select(NAMES.to_vec()).prop_flat_map(|name| {
        let ports = (
            resolved_port(name, ""),
            resolved_port(name, "more"),
            0_usize..3,
        );
        ports.prop_map(move |(one, two, count)| {
            Event::Apply(name, [one, two].into_iter().take(count).collect())
        })
    });
    prop_oneof![
        6 => apply,
        6 => Just(Event::Reconcile),
        1 => (1_u64..15).prop_map(Event::Wait),
        2 => (0_usize..12, prop::sample::select(vec![libc::E2BIG, libc::ENOMEM, libc::EPERM]))
            .prop_map(|(after, errno)| Event::Fault { after, errno }),
        1 => Just(Event::Restart),
    ]
}

type Wanted = BTreeMap<ObjectName, Vec<ResolvedPort>>;

fn apply_all(world: &mut Watched, wanted: &Wanted) {
    for (service, ports) in wanted {
        world.apply(service, ports.clone());
    }
}

fn run(mut world: Watched, events: Vec<Event>) -> (Watched, Wanted) {
    let mut wanted = Wanted::new();
    for event in events {
        match event {
            Event::Apply(name, ports) => {
                wanted.insert(service(name), ports.clone());
                world.apply(&service(name), ports);
            }
            Event::Reconcile => {
                world.reconcile();
            }
            Event::Wait(seconds) => world.advance(seconds),
            Event::Fault { after, errno } => {
                let maps = world.reconciler.maps_mut();
                let number = maps.tried() + after;
                maps.faults.insert(number, errno);
            }
            Event::Restart => {
                world = world.restart();
                apply_all(&mut world, &wanted);
            }
        }
    }
    world.reconciler.maps_mut().faults.clear();
    world.settle();
    (world, wanted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_as_if_written_from_scratch(events in vec(event(), 1..40)) {
        let (mut world, wanted) = run(Watched::roomy(), events);
        let mut fresh = Watched::roomy();
        apply_all(&mut fresh, &wanted);
        fresh.settle();
        prop_assert_eq!(world.dump(), fresh.dump());

        world.advance(10);
        world.reconciler.collect_vip_bits(world.now).unwrap();
        prop_assert!(world.reconciler.maps().vip_filter().unwrap() == fresh.reconciler.maps().vip_filter().unwrap());
    }

    #[test]
    fn a_restart_on_the_same_input_writes_nothing(events in vec(event(), 1..25)) {
        let (world, wanted) = run(Watched::roomy(), events);
        let problems = world.reconciler.desired.problems().count();
        let mut world = world.restart();
        for (service, ports) in wanted.iter().rev() {
            world.apply(service, ports.clone());
        }
        let outcome = world.reconciler.reconcile(world.now);
        let log = world.reconciler.maps_mut().take_log();
        prop_assert!(log.iter().all(|op| matches!(op, Op::PutConfig(_))), "{log:?}");
        prop_assert_eq!((outcome.changed, outcome.retry_after), (0, None));
        prop_assert_eq!(outcome.problems.len(), problems);
    }
    #[test]
    fn in_maps_that_are_too_small_each_service_is_served_right_or_reported(events in vec(event(), 1..40)) {
        let limits = Limits { families: Families::Both, frontends: 5, backends: 4, slots: 150, services: 3, flows: 0, conntrack: 1, transient: 1, affinity: 1, sockets: 1 };
        let mut world = Watched::new(limits);
        world.in_place = true;
        let (world, wanted) = run(world, events);
        let mut fresh = Watched::roomy();
        apply_all(&mut fresh, &wanted);
        fresh.settle();
        let reported: Vec<String> = world.reconciler.desired.problems().map(ToString::to_string).collect();
        for name in NAMES {
            let lines = |dump: String| -> Vec<String> {
                let is_its = |line: &&str| line.contains(&format!(" default/{name}"));
                dump.lines().filter(is_its).map(str::to_owned).collect()
            };
            if !reported.iter().any(|text| text.starts_with(&format!("Service default/{name} "))) {
                prop_assert_eq!(lines(world.dump()), lines(fresh.dump()), "{:?}", reported);
            }
        }
    }
}
