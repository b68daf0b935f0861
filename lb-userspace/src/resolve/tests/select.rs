//! Selection case by case: policy, hints, terminating endpoints (S-20 to S-23).

use super::*;

/// Endpoints of a Service whose traffic policy is given, seen from node `here` in `zone-a`, and what must come of them;
/// addresses in `expected` are without the port, which is the same in all.
struct Case {
    rule: &'static str,
    says: &'static str,
    internal_local: bool,
    zone: Option<&'static str>,
    endpoints: Vec<Endpoint>,
    expected: &'static [&'static str],
    has_endpoints: bool,
}

#[track_caller]
fn check(case: Case) {
    let service = Service {
        internal_local: case.internal_local,
        ..service(&["10.96.0.10"])
    };
    let node = Node {
        zone: case.zone.map(str::to_owned),
        ..node()
    };
    let ports = resolve(&service, &[&slice("s", &case.endpoints)], &node);
    let context = format!("{}: {}", case.rule, case.says);
    let actual: Vec<_> = words(&ports[0])
        .iter()
        .map(|text| text.replace(":8080", ""))
        .collect();
    assert_eq!(actual, case.expected, "{context}");
    assert_eq!(
        ports[0].has_endpoints,
        [case.has_endpoints, false],
        "{context}"
    );
}

/// Traffic policy Cluster, in our zone.
fn cluster(
    rule: &'static str,
    says: &'static str,
    endpoints: Vec<Endpoint>,
    expected: &'static [&'static str],
) -> Case {
    Case {
        rule,
        says,
        internal_local: false,
        zone: Some(ZONE),
        endpoints,
        expected,
        has_endpoints: true,
    }
}

/// Internal traffic policy Local, in our zone.
fn local(
    rule: &'static str,
    says: &'static str,
    endpoints: Vec<Endpoint>,
    expected: &'static [&'static str],
) -> Case {
    Case {
        internal_local: true,
        ..cluster(rule, says, endpoints, expected)
    }
}

#[test]
fn the_cluster_policy_selects_every_ready_endpoint() {
    for case in [
        cluster(
            "S-20.2",
            "ready ones wherever they run",
            vec![
                ready("10.0.0.1").on(HERE),
                ready("10.0.0.2").on("there"),
                ready("10.0.0.3"),
            ],
            &["10.0.0.1 cluster", "10.0.0.2 cluster", "10.0.0.3 cluster"],
        ),
        cluster(
            "S-20.2",
            "an unready one is absent",
            vec![ready("10.0.0.1"), unready("10.0.0.2")],
            &["10.0.0.1 cluster"],
        ),
        cluster(
            "S-51",
            "one that serves without being ready keeps its row",
            vec![
                ready("10.0.0.1"),
                Endpoint {
                    serving: true,
                    ..unready("10.0.0.2")
                },
            ],
            &["10.0.0.1 cluster", "10.0.0.2"],
        ),
        cluster(
            "S-4",
            "one that is published as ready while it terminates is as good as any",
            vec![Endpoint {
                ready: true,
                ..draining("10.0.0.1")
            }],
            &["10.0.0.1 cluster"],
        ),
        Case {
            has_endpoints: false,
            ..cluster("S-20.4", "no endpoint", vec![], &[])
        },
        Case {
            has_endpoints: false,
            ..cluster(
                "S-20.4",
                "none is usable",
                vec![unready("10.0.0.1"), gone("10.0.0.2")],
                &[],
            )
        },
        Case {
            has_endpoints: false,
            ..cluster(
                "S-22",
                "serving without terminating is no fallback",
                vec![Endpoint {
                    serving: true,
                    ..unready("10.0.0.1")
                }],
                &["10.0.0.1"],
            )
        },
    ] {
        check(case);
    }
}

#[test]
fn the_local_policy_selects_ready_endpoints_of_this_node() {
    for case in [
        local(
            "S-23",
            "this node's alone; the others keep their rows",
            vec![ready("10.0.0.1").on(HERE), ready("10.0.0.2").on("there")],
            &["10.0.0.1 local", "10.0.0.2"],
        ),
        local(
            "S-6",
            "an endpoint without a node is not local",
            vec![ready("10.0.0.1"), ready("10.0.0.2").on(HERE)],
            &["10.0.0.1", "10.0.0.2 local"],
        ),
        local(
            "S-23",
            "none here, some elsewhere: nothing is selected and yet there are endpoints",
            vec![ready("10.0.0.1").on("there")],
            &["10.0.0.1"],
        ),
        local(
            "S-20.4",
            "a draining one elsewhere counts as an endpoint",
            vec![draining("10.0.0.1").on("there")],
            &["10.0.0.1 draining"],
        ),
        local(
            "S-20.3",
            "an unready one here is not selected",
            vec![unready("10.0.0.1").on(HERE), ready("10.0.0.2").on("there")],
            &["10.0.0.2"],
        ),
        Case {
            has_endpoints: false,
            ..local("S-20.4", "no endpoint", vec![], &[])
        },
        Case {
            has_endpoints: false,
            ..local(
                "S-20.4",
                "none usable",
                vec![unready("10.0.0.1").on(HERE), gone("10.0.0.2").on(HERE)],
                &[],
            )
        },
    ] {
        check(case);
    }
}

#[test]
fn hints_never_apply_to_the_local_policy() {
    for case in [
        local(
            "S-20.3",
            "zone hints for elsewhere",
            vec![
                ready("10.0.0.1").on(HERE).for_zones(&["zone-b"]),
                ready("10.0.0.2").on("there").for_zones(&[ZONE]),
            ],
            &["10.0.0.1 local", "10.0.0.2"],
        ),
        local(
            "S-20.3",
            "node hints for elsewhere",
            vec![
                ready("10.0.0.1").on(HERE).for_nodes(&["there"]),
                ready("10.0.0.2").on("there").for_nodes(&[HERE]),
            ],
            &["10.0.0.1 local", "10.0.0.2"],
        ),
    ] {
        check(case);
    }
}

#[test]
fn zone_hints_keep_traffic_in_the_zone() {
    let both = || {
        vec![
            ready("10.0.0.1").for_zones(&[ZONE]),
            ready("10.0.0.2").for_zones(&["zone-b"]),
            ready("10.0.0.3").for_zones(&["zone-b", ZONE]),
        ]
    };
    const ALL: &[&str] = &["10.0.0.1 cluster", "10.0.0.2 cluster", "10.0.0.3 cluster"];
    for case in [
        cluster(
            "S-21b",
            "those hinted to our zone",
            both(),
            &["10.0.0.1 cluster", "10.0.0.2", "10.0.0.3 cluster"],
        ),
        Case {
            zone: Some("zone-b"),
            ..cluster(
                "S-21b",
                "another zone",
                both(),
                &["10.0.0.1", "10.0.0.2 cluster", "10.0.0.3 cluster"],
            )
        },
        Case {
            zone: Some("zone-c"),
            ..cluster("S-21c", "nothing hinted to our zone: all", both(), ALL)
        },
        Case {
            zone: None,
            ..cluster("S-21c", "our zone is unknown: all", both(), ALL)
        },
        cluster(
            "S-21c",
            "one ready endpoint without a hint: all",
            vec![
                ready("10.0.0.1").for_zones(&[ZONE]),
                ready("10.0.0.2"),
                ready("10.0.0.3").for_zones(&["zone-b"]),
            ],
            ALL,
        ),
        cluster(
            "S-21",
            "an unready endpoint without a hint does not count",
            vec![
                ready("10.0.0.1").for_zones(&[ZONE]),
                ready("10.0.0.2").for_zones(&["zone-b"]),
                unready("10.0.0.3"),
            ],
            &["10.0.0.1 cluster", "10.0.0.2"],
        ),
        cluster(
            "S-21",
            "nor does a draining one",
            vec![
                ready("10.0.0.1").for_zones(&[ZONE]),
                ready("10.0.0.2").for_zones(&["zone-b"]),
                draining("10.0.0.3"),
            ],
            &["10.0.0.1 cluster", "10.0.0.2", "10.0.0.3 draining"],
        ),
        cluster(
            "S-21",
            "an unready endpoint that is hinted to us does not keep traffic here",
            vec![
                unready("10.0.0.1").for_zones(&[ZONE]),
                ready("10.0.0.2").for_zones(&["zone-b"]),
            ],
            &["10.0.0.2 cluster"],
        ),
        cluster(
            "S-21",
            "a draining endpoint that is hinted to us does not keep traffic here",
            vec![
                draining("10.0.0.1").for_zones(&[ZONE]),
                ready("10.0.0.2").for_zones(&["zone-b"]),
            ],
            &["10.0.0.1 draining", "10.0.0.2 cluster"],
        ),
    ] {
        check(case);
    }
}

#[test]
fn node_hints_come_before_zone_hints() {
    for case in [
        cluster(
            "S-21a",
            "those hinted to our node",
            vec![
                ready("10.0.0.1").for_nodes(&[HERE]).for_zones(&[ZONE]),
                ready("10.0.0.2").for_nodes(&["there"]).for_zones(&[ZONE]),
            ],
            &["10.0.0.1 cluster", "10.0.0.2"],
        ),
        cluster(
            "S-21b",
            "none for our node: the zone",
            vec![
                ready("10.0.0.1").for_nodes(&["there"]).for_zones(&[ZONE]),
                ready("10.0.0.2")
                    .for_nodes(&["yonder"])
                    .for_zones(&["zone-b"]),
            ],
            &["10.0.0.1 cluster", "10.0.0.2"],
        ),
        cluster(
            "S-21b",
            "one without a node hint: the zone",
            vec![
                ready("10.0.0.1").for_nodes(&[HERE]).for_zones(&[ZONE]),
                ready("10.0.0.2").for_zones(&[ZONE]),
                ready("10.0.0.3")
                    .for_nodes(&["there"])
                    .for_zones(&["zone-b"]),
            ],
            &["10.0.0.1 cluster", "10.0.0.2 cluster", "10.0.0.3"],
        ),
        cluster(
            "S-21c",
            "neither for our node nor our zone: all",
            vec![
                ready("10.0.0.1")
                    .for_nodes(&["there"])
                    .for_zones(&["zone-b"]),
                ready("10.0.0.2")
                    .for_nodes(&["yonder"])
                    .for_zones(&["zone-c"]),
            ],
            &["10.0.0.1 cluster", "10.0.0.2 cluster"],
        ),
        Case {
            zone: None,
            ..cluster(
                "S-21a",
                "node hints need no zone",
                vec![
                    ready("10.0.0.1").for_nodes(&[HERE]),
                    ready("10.0.0.2").for_nodes(&["there"]),
                ],
                &["10.0.0.1 cluster", "10.0.0.2"],
            )
        },
        cluster(
            "S-21",
            "where an endpoint runs is no hint",
            vec![ready("10.0.0.1").on(HERE), ready("10.0.0.2").on("there")],
            &["10.0.0.1 cluster", "10.0.0.2 cluster"],
        ),
    ] {
        check(case);
    }
}

#[test]
fn draining_endpoints_stand_in_only_where_none_is_ready() {
    for case in [
        cluster(
            "S-22",
            "ready wins; the draining one keeps its row",
            vec![ready("10.0.0.1"), draining("10.0.0.2")],
            &["10.0.0.1 cluster", "10.0.0.2 draining"],
        ),
        cluster(
            "S-22",
            "all drain: all are selected",
            vec![draining("10.0.0.1").on(HERE), draining("10.0.0.2")],
            &["10.0.0.1 cluster draining", "10.0.0.2 cluster draining"],
        ),
        cluster(
            "S-22",
            "one that no longer serves is never used",
            vec![draining("10.0.0.1"), gone("10.0.0.2"), unready("10.0.0.3")],
            &["10.0.0.1 cluster draining"],
        ),
        cluster(
            "S-20.2",
            "hints do not restrict the fallback",
            vec![
                draining("10.0.0.1").for_zones(&["zone-b"]),
                draining("10.0.0.2").for_zones(&[ZONE]),
            ],
            &["10.0.0.1 cluster draining", "10.0.0.2 cluster draining"],
        ),
        local(
            "S-22",
            "local: ready wins",
            vec![ready("10.0.0.1").on(HERE), draining("10.0.0.2").on(HERE)],
            &["10.0.0.1 local", "10.0.0.2 draining"],
        ),
        local(
            "S-22",
            "local: a draining one here, though others elsewhere are ready",
            vec![draining("10.0.0.1").on(HERE), ready("10.0.0.2").on("there")],
            &["10.0.0.1 local draining", "10.0.0.2"],
        ),
        local(
            "S-22",
            "local: draining ones elsewhere are not selected",
            vec![
                draining("10.0.0.1").on(HERE),
                draining("10.0.0.2").on("there"),
                gone("10.0.0.3").on(HERE),
            ],
            &["10.0.0.1 local draining", "10.0.0.2 draining"],
        ),
    ] {
        check(case);
    }
}
