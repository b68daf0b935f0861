//! Writes that the kernel refuses.

use std::time::Duration;

use super::*;
use crate::maps::Maps;

#[test]
fn a_failed_write_is_tried_again_after_a_growing_wait() {
    let mut world = Watched::roomy();
    apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
    world
        .reconciler
        .maps_mut()
        .faults
        .extend([(1, libc::EPERM), (4, libc::EPERM)]);
    let waits: Vec<Option<Duration>> = (0..3).map(|_| world.reconcile().retry_after).collect();
    assert_eq!(
        waits,
        [
            Some(Duration::from_millis(100)),
            Some(Duration::from_millis(200)),
            None
        ]
    );
    assert!(world.dump().contains("10.1.0.1:80(1)"));
}

#[test]
fn a_service_that_the_kernel_has_no_memory_for_is_never_half_written() {
    // Every number of an operation in the first pass: bit, backends, slots, name, frontends, address's row.
    for number in 0..9 {
        let mut world = Watched::roomy();
        world
            .reconciler
            .maps_mut()
            .faults
            .insert(number, libc::ENOMEM);
        apply(
            &mut world,
            port(
                "web",
                &["10.96.0.1:80", "10.96.0.2:80"],
                &["10.1.0.1:80", "10.1.0.2:80"],
            ),
        );
        let outcome = world.reconcile();
        let frontends = world.reconciler.maps().frontends().unwrap();
        let ports = frontends
            .iter()
            .filter(|(at, _)| !at.is_address_row())
            .count();
        assert!(
            ports == 0 || ports == 2,
            "{ports} frontends are there after failure {number}"
        );
        assert!(outcome.retry_after.is_some(), "failure {number}");
        world.settle();
        assert_eq!(world.reconciler.maps().frontends().unwrap().len(), 4);
    }
}

#[test]
fn a_failing_service_does_not_hold_up_another() {
    let mut world = Watched::roomy();
    apply(&mut world, port("a", &["10.96.0.1:80"], &["10.1.0.1:80"]));
    apply(&mut world, port("b", &["10.96.0.2:80"], &["10.1.0.2:80"]));
    // After the two bits, the first backend.
    world.reconciler.maps_mut().faults.insert(2, libc::EPERM);
    let outcome = world.reconcile();
    assert_eq!(
        outcome.problems[0].to_string(),
        "Service default/a is not served: cannot do PutBackend(1, V4(Backend { address: [10, 1, 0, 1], \
         port: 80, state: 1, lists: 1, epoch: 1, service_id: 1 })) in map memory: Operation not permitted (os error 1); \
         it is tried again"
    );
    assert!(world.dump().contains("frontend 10.96.0.2:80/TCP"));
    assert!(!world.dump().contains("frontend 10.96.0.1:80/TCP"));
}

#[test]
fn backends_stay_while_the_frontend_that_names_them_cannot_be_replaced() {
    let mut world = Watched::roomy();
    apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.1:80"]));
    world.reconcile();
    apply(&mut world, port("web", &["10.96.0.1:80"], &["10.1.0.2:80"]));
    let maps = world.reconciler.maps_mut();
    // After backend and slots.
    let number = maps.tried() + 2;
    maps.faults.insert(number, libc::ENOMEM);
    world.reconcile();
    assert!(
        world.dump().contains("cluster=[10.1.0.1:80(1)]"),
        "{}",
        world.dump()
    );
    world.settle();
    assert!(world.dump().contains("cluster=[10.1.0.2:80(1)]"));
    assert_eq!(world.reconciler.maps().backends().unwrap().len(), 1);
}

#[test]
fn the_loser_of_a_frontend_keeps_its_backends_while_the_winner_cannot_be_written() {
    let mut world = Watched::roomy();
    apply(
        &mut world,
        ResolvedPort {
            created: 2,
            ..port("new", &["10.96.0.1:80"], &["10.1.0.1:80"])
        },
    );
    world.reconcile();
    let maps = world.reconciler.maps_mut();
    // The winner's backend.
    let number = maps.tried();
    maps.faults.insert(number, libc::EPERM);
    apply(
        &mut world,
        ResolvedPort {
            created: 1,
            ..port("old", &["10.96.0.1:80"], &["10.1.0.2:80"])
        },
    );
    world.reconcile();
    assert!(
        world.dump().contains("cluster=[10.1.0.1:80(1)]"),
        "{}",
        world.dump()
    );
    world.settle();
    assert!(world.dump().contains("cluster=[10.1.0.2:80(1)]"));
}
