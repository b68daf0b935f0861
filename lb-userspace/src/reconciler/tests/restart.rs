//! An agent that begins on maps that are not empty.

use lb_common::addr::{Endpoint, Port};
use lb_common::affinity::{Affinity, AffinityKey};
use lb_common::frontend::{Frontend, SlotRange};
use lb_common::service::ServiceName;
use lb_common::socket::SocketPeer;

use super::updates::flow;
use super::*;
use crate::maps::memory::Memory;
use crate::maps::{AffinityRow, BackendRow, FrontendAt, Limits, Maps, Op, Walk};
use lb_common::backend::BackendState;

#[test]
fn what_is_no_longer_desired_is_deleted_at_the_first_write_and_not_before() {
    let mut world = Watched::roomy();
    apply(
        &mut world,
        port("gone", &["10.96.0.1:80"], &["10.1.0.1:80"]),
    );
    apply(
        &mut world,
        port("stays", &["10.96.0.2:80"], &["10.1.0.2:80"]),
    );
    world.reconcile();
    let before = world.dump();
    let mut world = world.restart();
    apply(
        &mut world,
        port("stays", &["10.96.0.2:80"], &["10.1.0.2:80"]),
    );
    assert_eq!(world.dump(), before);
    world.reconcile();
    assert!(!world.dump().contains("gone") && world.dump().contains("stays"));
}

#[test]
fn s_8_before_the_list_is_complete_changes_are_written_and_what_nobody_defines_stays() {
    let mut world = Watched::roomy();
    for port in [
        port("unread", &["10.96.0.1:80"], &["10.1.0.1:80"]),
        port("grows", &["10.96.0.2:80"], &["10.1.0.2:80"]),
        port("moves", &["10.96.0.3:80"], &["10.1.0.3:80"]),
        port("goes", &["10.96.0.4:80"], &["10.1.0.4:80"]),
    ] {
        apply(&mut world, port);
    }
    world.reconcile();
    let unread = |world: &Watched| {
        let dump = world.dump();
        let lines = dump.lines().filter(|line| {
            line.contains("unread") || line.contains("10.96.0.1") || line.contains("10.1.0.1:")
        });
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = unread(&world);

    let mut world = world.restart();
    let defined = [
        port("grows", &["10.96.0.2:80"], &["10.1.0.2:80", "10.1.0.9:80"]),
        port("moves", &["10.96.0.33:80"], &["10.1.0.33:80"]),
        port("goes", &["10.96.0.4:80"], &["10.1.0.4:80"]),
        port("new", &["10.96.0.5:80"], &["10.1.0.5:80"]),
    ];
    for port in defined.clone() {
        apply(&mut world, port);
    }
    let outcome = world.reconcile_known();
    assert_eq!((outcome.problems, outcome.retry_after), (vec![], None));
    for written in ["10.1.0.9:80", "10.96.0.33:80", "10.96.0.5:80"] {
        assert!(
            world.dump().contains(written),
            "{written} in {}",
            world.dump()
        );
    }
    assert_eq!(unread(&world), before);

    // A Service that was defined and is removed goes at once.
    world.apply(&service("goes"), vec![]);
    world.reconcile_known();
    assert!(!world.dump().contains("goes"), "{}", world.dump());
    assert_eq!(unread(&world), before);

    world.reconcile();
    let mut fresh = Watched::roomy();
    for port in defined
        .into_iter()
        .filter(|port| port.name.service != service("goes"))
    {
        apply(&mut fresh, port);
    }
    fresh.reconcile();
    let frontends = |world: &Watched| {
        let rows = world.reconciler.maps().frontends().unwrap();
        let mut at: Vec<_> = rows.into_iter().map(|(at, _)| at.to_string()).collect();
        at.sort();
        at
    };
    assert_eq!(frontends(&world), frontends(&fresh));
    assert!(
        unread(&world).iter().all(|line| line.starts_with("vip")),
        "{:?}",
        unread(&world)
    );
}

#[test]
fn s_8_only_what_cannot_be_read_stays_as_it_was() {
    let all = [
        port("unread", &["10.96.0.1:80"], &["10.1.0.1:80"]),
        port("partly", &["10.96.0.2:80"], &["10.1.0.2:80", "10.1.0.3:80"]),
        port("stays", &["10.96.0.3:80"], &["10.1.0.4:80"]),
        port("gone", &["10.96.0.4:80"], &["10.1.0.5:80"]),
    ];
    let mut world = Watched::roomy();
    for port in all.clone() {
        apply(&mut world, port);
    }
    world.reconcile();
    let backends = |world: &Watched| {
        let rows = world.reconciler.maps().backends().unwrap();
        let mut all: Vec<_> = rows
            .into_iter()
            .map(|(id, row)| (row.socket().to_string(), id, row.epoch()))
            .collect();
        all.sort();
        all
    };
    let before = backends(&world);
    let frontends = |world: &Watched| {
        let rows = world.reconciler.maps().frontends().unwrap();
        let ports = rows.into_iter().filter(|(at, _)| !at.is_address_row());
        let mut at: Vec<_> = ports.map(|(at, _)| at.to_string()).collect();
        at.sort();
        at
    };
    let frontends_before = frontends(&world);

    let mut world = world.restart();
    apply(
        &mut world,
        port("partly", &["10.96.0.2:80"], &["10.1.0.2:80"]),
    );
    apply(&mut world, all[2].clone());
    let unread = ["unread", "partly"].map(service).into();
    world.reconcile_but(unread);
    assert_eq!(frontends(&world), frontends_before[..3]);
    // What an unread slice names is not chosen any more; flows that go there go on.
    assert_eq!(backends(&world), before[..4]);

    // It is read, and is what it was.
    apply(&mut world, all[0].clone());
    world.reconcile_but([service("partly")].into());
    assert_eq!(backends(&world), before[..4]);
    apply(&mut world, all[1].clone());
    world.reconcile();
    assert_eq!(backends(&world), before[..4]);
    assert_eq!(frontends(&world), frontends_before[..3]);
}

#[test]
fn s_8_what_could_not_be_read_and_turns_out_gone_is_deleted() {
    let mut world = Watched::roomy();
    apply(
        &mut world,
        port("unread", &["10.96.0.1:80"], &["10.1.0.1:80"]),
    );
    world.reconcile();
    let before = world.dump();
    let mut world = world.restart();
    assert_eq!(world.reconcile_but([service("unread")].into()).changed, 0);
    assert_eq!(world.dump(), before);
    world.reconcile();
    assert_eq!(world.reconciler.maps().frontends().unwrap(), []);
    assert_eq!(world.reconciler.maps().backends().unwrap(), []);
}

#[test]
fn s_8_a_service_that_is_read_later_is_adopted_as_it_stands() {
    let mut world = Watched::roomy();
    let late = port("late", &["10.96.0.1:80"], &["10.1.0.1:80"]);
    apply(&mut world, late.clone());
    world.reconcile();
    let before = world.dump();
    let mut world = world.restart();
    world.reconcile_known();
    apply(&mut world, late);
    world.reconcile_known();
    assert_eq!(world.dump(), before);
    assert_eq!(world.reconcile().changed, 0);
    assert_eq!(world.dump(), before);
}

/// A client that stays with its backend, and a socket that was given one, know it as flows do (S-27, S-51).
#[test]
fn a_new_backend_never_has_an_epoch_that_a_client_or_a_socket_knows() {
    let affinity = Affinity {
        backend_id: 1,
        epoch: 700,
        last: 0,
    };
    let client = AffinityRow::new(&AffinityKey::new([10, 244, 1, 2], 1), &affinity);
    let vip = Endpoint {
        address: [10, 96, 0, 1],
        port: Port::new(53),
    };
    let remember: [fn(&mut Memory, AffinityRow, Affinity, SocketPeer); 3] = [
        |maps, client, _, _| maps.affinity.push(client),
        |maps, _, affinity, _| maps.socket_affinity.push(affinity),
        |maps, _, _, peer| maps.socket_peers.push(peer),
    ];
    for remember in remember {
        let mut maps = Memory::new(Limits::default());
        let peer = SocketPeer::new(&vip, 1, affinity.epoch);
        remember(&mut maps, client, affinity, peer);
        let mut world = Watched::over(maps);
        apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
        world.reconcile();
        let backends = world.reconciler.maps().backends().unwrap();
        assert_eq!(backends[0].1.epoch(), 701);
    }
}

#[test]
fn a_new_backend_never_has_an_epoch_that_a_flow_knows() {
    let mut maps = Memory::new(Limits::default());
    maps.conntrack.push(flow("10.96.0.1:80", 500));
    // Flows that were not seen may know greater ones.
    for (walk, epoch) in [(Walk::Complete, 501), (Walk::Incomplete, 1_000_501)] {
        maps.conntrack_walk = walk;
        let mut world = Watched::over(maps.clone());
        apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
        world.reconcile();
        let backends = world.reconciler.maps().backends().unwrap();
        assert_eq!(backends[0].1.epoch(), epoch, "{walk:?}");
    }
}

#[test]
fn a_changed_service_keeps_its_ids_over_a_restart() {
    let mut world = Watched::roomy();
    apply(&mut world, port("a", &["10.96.0.1:80"], &["10.1.0.9:80"]));
    apply(
        &mut world,
        port("web", &["10.96.0.2:80"], &["10.1.0.1:80", "10.1.0.2:80"]),
    );
    world.reconcile();
    let known = world.reconciler.maps().backends().unwrap();
    let mut world = world.restart();
    apply(
        &mut world,
        port(
            "web",
            &["10.96.0.2:80"],
            &["10.1.0.1:80", "10.1.0.2:80", "10.1.0.3:80"],
        ),
    );
    world.reconcile();
    let now = world.reconciler.maps().backends().unwrap();
    let kept = known.iter().filter(|row| now.contains(row)).count();
    assert_eq!((kept, now.len()), (2, 3));
}

/// Maps that no agent has written: every row contradicts another one.
fn corrupt() -> Memory {
    let mut maps = Memory::new(Limits {
        slots: 1_000,
        ..Limits::default()
    });
    let name = |name| ServiceName::new("default", name, "", Protocol::Tcp).unwrap();
    let backend = |at: &str, service_id| {
        BackendRow::new(at.parse().unwrap(), BackendState::Active, 7, service_id)
    };
    let frontend = |at: &str| FrontendAt::new(at.parse().unwrap(), Protocol::Tcp);
    let range = |offset, len| SlotRange { offset, len };
    let row = |id, cluster| Frontend::new(id, cluster, SlotRange::default(), 0, 0);
    let ops = [
        Op::PutService(0, name("zero").into()),
        Op::PutService(1, name("twice").into()),
        Op::PutService(2, name("twice").into()),
        Op::PutBackend(0, backend("10.1.0.1:80", 1)),
        Op::PutBackend(3, backend("10.1.0.1:80", 1)),
        Op::PutBackend(4, backend("10.1.0.1:80", 1)),
        Op::PutBackend(4, backend("[fd00::1]:80", 1)),
        Op::PutBackend(5, backend("10.1.0.1:80", 99)),
        Op::WriteSlots {
            offset: 0,
            ids: vec![3; 100].into(),
        },
        Op::PutFrontend(frontend("10.96.0.1:80"), row(1, range(0, 60))),
        Op::PutFrontend(frontend("10.96.0.2:80"), row(2, range(30, 60))),
        Op::PutFrontend(frontend("10.96.0.3:80"), row(99, range(990, 60))),
        Op::PutFrontend(frontend("10.96.0.4:80"), row(1, range(u32::MAX, u32::MAX))),
        Op::PutFrontend(frontend("10.96.0.5:80"), row(1, range(500, 60))),
    ];
    assert!(maps.apply(&ops).iter().all(Result::is_ok));
    maps.take_log();
    maps
}

#[test]
fn rows_that_contradict_each_other_are_replaced() {
    let ports = [
        port(
            "twice",
            &["10.96.0.1:80", "10.96.0.2:80"],
            &["10.1.0.1:80", "10.1.0.2:80"],
        ),
        port("other", &["10.96.0.3:80"], &["10.1.0.1:80"]),
    ];
    let mut fresh = Watched::roomy();
    let mut reconciler = crate::reconciler::Reconciler::start(corrupt()).unwrap();
    for port in ports {
        reconciler.apply(&port.name.service, vec![port.clone()]);
        apply(&mut fresh, port);
    }
    fresh.settle();
    let outcome = reconciler.reconcile(std::time::Instant::now());
    assert_eq!((outcome.problems, outcome.retry_after), (vec![], None));
    assert_eq!(crate::view::dump(reconciler.maps()).unwrap(), fresh.dump());
}
