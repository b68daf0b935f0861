//! One Service that changes.

use std::time::Duration;

use lb_common::backend::list;
use lb_common::frontend::Frontend;

use super::*;
use crate::maps::{FrontendAt, Maps, Op, Walk};

#[test]
fn an_unchanged_service_costs_no_write() {
    let mut world = Watched::roomy();
    apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
    assert!(world.reconcile().changed > 0);
    apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
    assert_eq!(world.reconcile().changed, 0);
}

#[test]
fn an_endpoint_event_writes_the_rows_of_its_service_alone() {
    let mut world = Watched::roomy();
    for i in 0..50 {
        apply(
            &mut world,
            port(
                &format!("s{i}"),
                &[&format!("10.96.0.{i}:80")],
                &["10.1.0.1:80"],
            ),
        );
    }
    world.reconcile();
    apply(
        &mut world,
        port("s7", &["10.96.0.7:80"], &["10.1.0.1:80", "10.1.0.2:80"]),
    );
    world.reconciler.reconcile(world.now);
    let log = world.reconciler.maps_mut().take_log();
    assert!(
        matches!(
            &log[..],
            [
                Op::PutBackend(..),
                Op::WriteSlots { .. },
                Op::PutFrontend(..),
                Op::PutConfig(_)
            ]
        ),
        "{log:?}"
    );
}

#[test]
fn a_backend_that_begins_to_drain_changes_its_state_and_no_slot() {
    let mut world = Watched::roomy();
    apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
    world.reconcile();
    let mut draining = port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]);
    draining.endpoints[0].state = EndpointState::Terminating;
    apply(&mut world, draining);
    world.reconciler.reconcile(world.now);
    let log = world.reconciler.maps_mut().take_log();
    assert!(
        matches!(&log[..], [Op::PutBackend(..), Op::PutConfig(_)]),
        "{log:?}"
    );
}

#[test]
fn s_7_endpoints_of_a_family_without_a_frontend_take_no_row() {
    let mut world = Watched::roomy();
    apply(
        &mut world,
        port("web", &["10.96.0.1:80"], &["10.1.0.1:80", "[fd00::1]:80"]),
    );
    world.reconcile();
    assert_eq!(world.reconciler.maps().backends().unwrap().len(), 1);
}

#[test]
fn a_bit_of_the_filter_stays_until_neither_a_vip_nor_a_flow_needs_it() {
    let mut world = Watched::roomy();
    apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
    world.reconcile();
    world.apply(&service("web"), Vec::new());
    world.reconcile();
    let flow = flow("10.96.0.1:80", 1);
    let collect = |world: &mut Watched| world.reconciler.collect_vip_bits(world.now).unwrap();
    assert_eq!(
        collect(&mut world),
        0,
        "a packet may be about to make a flow"
    );
    world.advance(11);
    world.reconciler.maps_mut().conntrack.push(flow);
    assert_eq!(
        collect(&mut world),
        0,
        "the flow's packets are found through the bit"
    );
    world.reconciler.maps_mut().conntrack.clear();
    assert_eq!(collect(&mut world), 1);
    assert!(
        world
            .reconciler
            .maps()
            .vip_filter()
            .unwrap()
            .iter()
            .all(|word| *word == 0)
    );
}

#[test]
fn no_bit_goes_while_conntrack_cannot_be_read_whole() {
    let mut world = Watched::roomy();
    apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
    world.reconcile();
    world.apply(&service("web"), Vec::new());
    world.reconcile();
    world.advance(11);
    for (walk, cleared) in [(Walk::Incomplete, 0), (Walk::Complete, 1)] {
        world.reconciler.maps_mut().conntrack_walk = walk;
        let now = world.now;
        assert_eq!(
            world.reconciler.collect_vip_bits(now).unwrap(),
            cleared,
            "{walk:?}"
        );
    }
}

#[test]
fn each_completed_write_counts_one_generation() {
    let mut world = Watched::roomy();
    let generation = |world: &Watched| world.reconciler.maps().config().unwrap().generation;
    world.reconcile();
    assert_eq!(generation(&world), 1);
    world.reconcile();
    assert_eq!(generation(&world), 1);
    apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
    world.reconcile();
    assert_eq!(generation(&world), 2);
}

#[test]
fn changes_before_the_first_write_take_no_slots_for_good() {
    let mut world = Watched::new(crate::maps::Limits {
        slots: 1_000,
        ..Default::default()
    });
    for count in 1..=16 {
        apply(&mut world, with_endpoints("web", "10.96.0.1:80", count));
    }
    let outcome = world.reconcile();
    assert_eq!(
        (outcome.problems, outcome.retry_after),
        (vec![], None::<Duration>)
    );
}

#[test]
fn two_ports_of_one_name_are_reported_and_the_first_is_served() {
    let mut world = Watched::roomy();
    let ports = vec![
        port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]),
        port("web", &["10.96.0.1:81"], &["10.1.0.1:81"]),
    ];
    world.apply(&service("web"), ports);
    let outcome = world.reconcile();
    assert_eq!(
        outcome.problems[0].to_string(),
        "Service default/web/TCP: two of its ports have this name and protocol, the first one is served; rename the other"
    );
    assert!(
        world.dump().contains("10.96.0.1:80/TCP") && !world.dump().contains("10.96.0.1:81/TCP")
    );
}

pub fn flow(frontend: &str, epoch: u32) -> crate::maps::FlowRow {
    crate::maps::FlowRow {
        direction: lb_common::conntrack::Direction::FromClient,
        protocol: Protocol::Tcp,
        client: "10.2.0.1:40000".parse().unwrap(),
        frontend: frontend.parse().unwrap(),
        source_port: 40_000,
        backend: "10.1.0.1:80".parse().unwrap(),
        state: "established",
        backend_id: 1,
        epoch,
        service_id: 1,
        last_seen: 0,
        longest_silence: 86_400,
    }
}

/// S-51: flows through a frontend that is no longer the service port's own.
#[test]
fn a_service_port_that_loses_a_frontend_gives_its_backends_new_epochs() {
    let epochs = |world: &Watched| -> Vec<(u32, u32)> {
        let backends = world.reconciler.maps().backends().unwrap();
        let mut epochs: Vec<_> = backends
            .iter()
            .map(|(id, row)| (*id, row.epoch()))
            .collect();
        epochs.sort_unstable();
        epochs
    };
    let mut world = Watched::roomy();
    let web = |frontends: &[&str]| port("web", frontends, &["10.1.0.1:80", "10.1.0.2:80"]);
    apply(&mut world, web(&["10.96.0.1:80"]));
    world.reconcile();
    let first = epochs(&world);

    apply(&mut world, web(&["10.96.0.1:80", "10.96.0.2:80"]));
    world.reconcile();
    assert_eq!(epochs(&world), first, "one more frontend");

    apply(&mut world, web(&["10.96.0.2:80"]));
    world.reconcile();
    let second = epochs(&world);
    for ((id, old), (same, new)) in first.iter().zip(&second) {
        assert_eq!(id, same, "the backend is the same");
        assert!(new > old, "{second:?} after {first:?}");
    }
}

/// A client stays with its backend only while the row says that it is selected.
#[test]
fn s_27_the_row_of_a_backend_says_in_which_lists_it_is_and_keeps_its_epoch() {
    let mut world = Watched::roomy();
    let mut seen = None;
    for (cluster, local, lists) in [
        (true, false, list::CLUSTER),
        (false, true, list::LOCAL),
        (true, true, list::CLUSTER | list::LOCAL),
        (false, false, 0),
        (true, false, list::CLUSTER),
    ] {
        let mut web = port("web", &["10.96.0.1:80"], &["10.1.0.1:80", "10.1.0.2:80"]);
        web.endpoints[0].cluster = cluster;
        web.endpoints[0].local = local;
        apply(&mut world, web);
        world.reconcile();
        let rows = world.reconciler.maps().backends().unwrap();
        let (id, row) = rows
            .iter()
            .find(|(_, row)| row.socket().to_string() == "10.1.0.1:80")
            .unwrap();
        for bit in [list::CLUSTER, list::LOCAL] {
            assert_eq!(row.is_listed(bit), lists & bit != 0, "{cluster}, {local}");
        }
        assert_eq!(*seen.get_or_insert((*id, row.epoch())), (*id, row.epoch()));
    }
}

#[test]
fn s_25_the_timeout_is_the_frontends_and_changes_with_the_service() {
    let mut world = Watched::roomy();
    for seconds in [0, 10_800, 125, 0] {
        let mut web = port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]);
        web.affinity_seconds = seconds;
        apply(&mut world, web);
        world.reconcile();
        let rows = world.reconciler.maps().frontends().unwrap();
        let row = rows.iter().find(|(at, _)| !at.is_address_row()).unwrap().1;
        assert_eq!(row.affinity_seconds(), seconds);
    }
}

#[test]
fn s_31_the_row_of_a_vip_says_whether_a_port_has_an_endpoint() {
    let mut world = Watched::roomy();
    let vip = "10.96.0.1:80".parse::<SocketAddr>().unwrap();
    let mut check = |name: &str, frontend: &str, endpoints: &[&str], expected: bool| {
        apply(&mut world, port(name, &[frontend], endpoints));
        world.reconcile();
        let rows = world.reconciler.maps().frontends().unwrap();
        let address_row = FrontendAt::address_row(vip.ip());
        let row = rows.iter().find(|(at, _)| *at == address_row).unwrap().1;
        assert_eq!(row, Frontend::address_row(expected), "{rows:?}");
    };
    check("web", "10.96.0.1:80", &[], false);
    check("web", "10.96.0.1:80", &["10.1.0.1:80"], true);
    // The second port of the address has none.
    check("more", "10.96.0.1:81", &[], true);
    check("web", "10.96.0.1:80", &[], false);
    check("more", "10.96.0.1:81", &["10.1.0.1:81"], true);
    check("web", "10.96.0.1:80", &["10.1.0.1:80"], true);
    check("more", "10.96.0.1:81", &[], true);
}
