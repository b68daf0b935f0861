//! Maps that are too small: one Service is refused, with the name of the flag that helps; the others go on.

use super::*;
use crate::maps::{Limits, Maps};
use crate::model::Families;

const TIGHT: Limits = Limits {
    families: Families::Both,
    frontends: 1_000,
    backends: 1_000,
    slots: 10_000,
    services: 1_000,
    flows: 0,
    conntrack: 1,
    transient: 1,
    affinity: 1,
    sockets: 1,
};

/// Serves `fits`, then asks for `more` as well: it is refused for the reason given, and served when `fits` goes.
fn check(limits: Limits, fits: ResolvedPort, more: ResolvedPort, reason: &str) {
    let mut world = Watched::new(limits);
    apply(&mut world, fits.clone());
    world.reconcile();
    let before = world.dump();

    apply(&mut world, more.clone());
    let outcome = world.reconcile();
    let texts: Vec<String> = outcome.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [format!(
            "Service {} is not served: {reason}",
            more.name.service
        )]
    );
    assert_eq!(
        world.dump(),
        before,
        "nothing of the refused Service is written"
    );

    world.apply(&fits.name.service, Vec::new());
    assert_eq!(world.settle().problems, []);
    assert!(
        world.dump().contains(&more.name.service.to_string()),
        "served as soon as there is room"
    );
}

#[test]
fn no_room_for_frontends_names_the_flag() {
    check(
        Limits {
            frontends: 2,
            ..TIGHT
        },
        port("a", &["10.96.0.1:80"], &["10.1.0.1:80"]),
        port("b", &["10.96.0.2:80"], &["10.1.0.1:80"]),
        "no room for 2 more frontends (2 of 2 are in use); raise --max-frontends",
    );
}

#[test]
fn no_room_for_backends_names_the_flag() {
    check(
        Limits {
            backends: 3,
            ..TIGHT
        },
        with_endpoints("a", "10.96.0.1:80", 2),
        with_endpoints("b", "10.96.0.2:80", 2),
        "no room for 1 more backends (3 of 3 are in use); raise --max-backends",
    );
}

#[test]
fn no_room_for_slots_names_the_flag() {
    check(
        Limits { slots: 20, ..TIGHT },
        with_endpoints("a", "10.96.0.1:80", 2),
        with_endpoints("b", "10.96.0.2:80", 2),
        "no room for 12 more slots (12 of 20 are in use); raise --max-slots",
    );
}

#[test]
fn no_room_for_services_names_the_flag() {
    check(
        Limits {
            services: 1,
            ..TIGHT
        },
        port("a", &["10.96.0.1:80"], &["10.1.0.1:80"]),
        port("b", &["10.96.0.2:80"], &["10.1.0.1:80"]),
        "no room for 1 more services (1 of 1 are in use); raise --max-services",
    );
}

#[test]
fn a_name_that_is_too_long_is_refused_alone() {
    let mut world = Watched::roomy();
    apply(
        &mut world,
        port(&"x".repeat(64), &["10.96.0.1:80"], &["10.1.0.1:80"]),
    );
    apply(
        &mut world,
        port("good", &["10.96.0.2:80"], &["10.1.0.1:80"]),
    );
    let outcome = world.reconcile();
    assert!(
        outcome.problems[0]
            .to_string()
            .contains("give it a shorter name"),
        "{outcome:?}"
    );
    assert!(world.dump().contains("default/good"));
}

#[test]
fn a_service_that_does_not_fit_after_growing_is_served_as_before() {
    let mut world = Watched::new(Limits {
        slots: 500,
        ..TIGHT
    });
    apply(&mut world, with_endpoints("a", "10.96.0.1:80", 2));
    world.reconcile();
    let before = world.dump();
    apply(&mut world, with_endpoints("a", "10.96.0.1:80", 16));
    let outcome = world.reconcile();
    assert_eq!(
        outcome.problems[0].to_string(),
        "Service default/a is served as before its last change: no room for 840 more slots (12 of 500 are in use); raise \
         --max-slots"
    );
    assert_eq!(world.dump(), before);
}

#[test]
fn a_service_that_lost_an_endpoint_and_does_not_fit_is_removed_as_a_whole() {
    let mut world = Watched::new(Limits {
        slots: 500,
        ..TIGHT
    });
    apply(&mut world, with_endpoints("a", "10.96.0.1:80", 2));
    world.reconcile();
    let mut replaced = with_endpoints("a", "10.96.0.1:80", 16);
    replaced.endpoints.remove(0);
    apply(&mut world, replaced);
    world.reconcile();
    assert_eq!(world.dump(), "");
}

#[test]
fn a_table_that_is_no_longer_is_written_in_place_when_there_is_no_room_beside_it() {
    let mut world = Watched::new(Limits { slots: 12, ..TIGHT });
    world.in_place = true;
    for count in [4, 2, 3, 1] {
        apply(&mut world, with_endpoints("a", "10.96.0.1:80", count));
        assert_eq!(world.reconcile().problems, []);
    }
    let mut fresh = Watched::new(TIGHT);
    apply(&mut fresh, with_endpoints("a", "10.96.0.1:80", 1));
    fresh.reconcile();
    assert_eq!(world.dump(), fresh.dump());
}

#[test]
fn backend_ids_that_rest_are_waited_for() {
    let mut world = Watched::new(Limits {
        backends: 3,
        ..TIGHT
    });
    apply(&mut world, with_endpoints("a", "10.96.0.1:80", 2));
    world.reconcile();
    world.apply(&service("a"), Vec::new());
    apply(&mut world, with_endpoints("b", "10.96.0.2:80", 2));
    assert_eq!(world.reconcile().problems.len(), 1);
    let outcome = world.settle();
    assert_eq!(outcome.problems, []);
    let ids = world.reconciler.maps().backends().unwrap().into_iter();
    let mut ids: Vec<u32> = ids.map(|(id, _)| id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn each_family_has_all_the_backend_ids() {
    let mut world = Watched::new(Limits {
        backends: 2,
        ..TIGHT
    });
    let frontends = ["10.96.0.1:80", "[fd96::1]:80"];
    let endpoints = ["10.1.0.1:80", "10.1.0.2:80", "[fd01::1]:80", "[fd01::2]:80"];
    apply(&mut world, port("a", &frontends, &endpoints));
    assert_eq!(world.reconcile().problems, []);
    let rows = world.reconciler.maps().backends().unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|(id, _)| (1..=2).contains(id)));
}

#[test]
fn slots_that_rest_are_waited_for() {
    let mut world = Watched::new(Limits { slots: 20, ..TIGHT });
    apply(&mut world, with_endpoints("a", "10.96.0.1:80", 2));
    world.reconcile();
    world.apply(&service("a"), Vec::new());
    apply(&mut world, with_endpoints("b", "10.96.0.2:80", 2));
    assert_eq!(world.reconcile().problems.len(), 1);
    let outcome = world.settle();
    assert_eq!(outcome.problems, []);
    assert_eq!(world.reconciler.maps().frontends().unwrap().len(), 2);
}
