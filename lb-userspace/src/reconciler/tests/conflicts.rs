//! Two Services that ask for one frontend.

use super::*;
use crate::desired::Problem;

fn aged(name: &str, created: i64, backend: &str) -> ResolvedPort {
    ResolvedPort {
        created,
        ..port(name, &["10.96.0.1:80"], &[backend])
    }
}

/// The backend that the contested frontend leads to.
fn served(world: &Watched) -> String {
    let dump = world.dump();
    let frontends: Vec<&str> = dump
        .lines()
        .filter(|line| line.starts_with("frontend"))
        .collect();
    let [line] = frontends[..] else {
        panic!("{dump}")
    };
    let (_, rest) = line.split_once("cluster=[").unwrap();
    rest.split_once('(').unwrap().0.to_owned()
}

#[test]
fn the_older_service_keeps_the_frontend_whichever_comes_first() {
    for older_first in [true, false] {
        let mut world = Watched::roomy();
        let mut ports = [aged("old", 1, "10.1.0.1:80"), aged("new", 2, "10.1.0.2:80")];
        if !older_first {
            ports.reverse();
        }
        for port in ports {
            apply(&mut world, port);
            world.reconcile();
        }
        assert_eq!(served(&world), "10.1.0.1:80");
    }
}

#[test]
fn of_two_services_of_one_age_the_lesser_name_keeps_the_frontend() {
    let mut world = Watched::roomy();
    apply(&mut world, aged("b", 1, "10.1.0.2:80"));
    apply(&mut world, aged("a", 1, "10.1.0.1:80"));
    world.reconcile();
    assert_eq!(served(&world), "10.1.0.1:80");
}

#[test]
fn the_loser_is_told_and_takes_over_when_the_winner_goes() {
    let mut world = Watched::roomy();
    apply(&mut world, aged("old", 1, "10.1.0.1:80"));
    apply(&mut world, aged("new", 2, "10.1.0.2:80"));
    let outcome = world.reconcile();
    let texts: Vec<String> = outcome.problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        texts,
        [
            "Service default/new/TCP: 10.96.0.1:80/TCP belongs to default/old/TCP, which is older or, of the same \
          age, the first by name; give one of them another address or port"
        ]
    );
    world.apply(&service("old"), Vec::new());
    assert_eq!(world.reconcile().problems, []);
    assert_eq!(served(&world), "10.1.0.2:80");
}

#[test]
fn a_takeover_never_leaves_the_frontend_without_a_row() {
    let mut world = Watched::roomy();
    apply(&mut world, aged("old", 1, "10.1.0.1:80"));
    apply(&mut world, aged("new", 2, "10.1.0.2:80"));
    world.reconcile();
    world.apply(&service("old"), Vec::new());
    world.reconciler.reconcile(world.now);
    let log = world.reconciler.maps_mut().take_log();
    let deleted = log
        .iter()
        .any(|op| matches!(op, crate::maps::Op::DeleteFrontend(_)));
    assert!(!deleted, "{log:?}");
}
