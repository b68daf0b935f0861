//! Joining a Service with its slices: ports, duplicates, families, order (S-2, S-3, S-5, S-7).

use super::*;

#[track_caller]
fn check(service: &Service, slices: &[EndpointSlice], expected: &[(&str, &[&str])]) {
    let resolve_in = |slices: Vec<&EndpointSlice>| resolve(service, &slices, &node());
    let ports = resolve_in(slices.iter().collect());
    let actual: Vec<_> = ports
        .iter()
        .map(|port| (port.name.to_string(), words(port)))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, endpoints)| {
            (
                name.to_string(),
                endpoints.iter().map(|e| e.to_string()).collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(actual, expected);
    assert_eq!(
        ports,
        resolve_in(slices.iter().rev().collect()),
        "the order of the slices shows"
    );
}

#[test]
fn s_3_endpoints_of_several_slices_are_joined() {
    check(
        &service(&["10.96.0.10"]),
        &[
            slice("b", &[ready("10.0.0.2")]),
            slice("a", &[ready("10.0.0.3"), ready("10.0.0.1")]),
        ],
        &[(
            "shop/backend/TCP",
            &[
                "10.0.0.1:8080 cluster",
                "10.0.0.2:8080 cluster",
                "10.0.0.3:8080 cluster",
            ],
        )],
    );
}

#[test]
fn s_3_a_service_without_slices_has_ports_without_endpoints() {
    check(&service(&["10.96.0.10"]), &[], &[("shop/backend/TCP", &[])]);
}

#[test]
fn s_3_a_named_port_has_another_number_in_each_slice() {
    let with_ports = |slice: EndpointSlice, http: u16, metrics: u16| EndpointSlice {
        ports: vec![
            endpoint_port("http", Protocol::Tcp, http),
            endpoint_port("metrics", Protocol::Tcp, metrics),
        ],
        ..slice
    };
    check(
        &Service {
            ports: vec![
                port("metrics", Protocol::Tcp, 9090),
                port("http", Protocol::Tcp, 80),
            ],
            ..service(&["10.96.0.10"])
        },
        &[
            with_ports(slice("old", &[ready("10.0.0.1")]), 8080, 9000),
            with_ports(slice("new", &[ready("10.0.0.2")]), 8081, 9001),
        ],
        &[
            (
                "shop/backend:http/TCP",
                &["10.0.0.1:8080 cluster", "10.0.0.2:8081 cluster"],
            ),
            (
                "shop/backend:metrics/TCP",
                &["10.0.0.1:9000 cluster", "10.0.0.2:9001 cluster"],
            ),
        ],
    );
}

#[test]
fn s_3_a_port_matches_by_name_and_protocol_never_by_number() {
    let other = |name: &str, protocol| EndpointSlice {
        ports: vec![endpoint_port(name, protocol, 80)],
        ..slice("s", &[ready("10.0.0.1")])
    };
    for slice in [other("web", Protocol::Tcp), other("", Protocol::Udp)] {
        check(
            &service(&["10.96.0.10"]),
            &[slice],
            &[("shop/backend/TCP", &[])],
        );
    }
}

#[test]
fn s_2_one_number_with_two_protocols_is_two_service_ports() {
    check(
        &Service {
            ports: vec![
                port("dns", Protocol::Udp, 53),
                port("dns-tcp", Protocol::Tcp, 53),
                port("dns", Protocol::Tcp, 54),
            ],
            ..service(&["10.96.0.10"])
        },
        &[EndpointSlice {
            ports: vec![
                endpoint_port("dns", Protocol::Udp, 5353),
                endpoint_port("dns-tcp", Protocol::Tcp, 5354),
            ],
            ..slice("s", &[ready("10.0.0.1")])
        }],
        &[
            ("shop/backend:dns/TCP", &[]),
            ("shop/backend:dns/UDP", &["10.0.0.1:5353 cluster"]),
            ("shop/backend:dns-tcp/TCP", &["10.0.0.1:5354 cluster"]),
        ],
    );
}

#[test]
fn s_5_an_endpoint_in_two_slices_counts_once() {
    check(
        &service(&["10.96.0.10"]),
        &[
            slice("a", &[ready("10.0.0.1")]),
            slice("b", &[ready("10.0.0.1")]),
        ],
        &[("shop/backend/TCP", &["10.0.0.1:8080 cluster"])],
    );
}

#[test]
fn s_5_of_two_pods_with_one_address_the_one_that_does_not_terminate_wins() {
    let expected: &[(&str, &[&str])] = &[("shop/backend/TCP", &["10.0.0.1:8080 cluster"])];
    for (first, second) in [
        (ready("10.0.0.1"), draining("10.0.0.1")),
        (gone("10.0.0.1"), ready("10.0.0.1")),
    ] {
        let service = service(&["10.96.0.10"]);
        let both = [first, second];
        let (first, second) = both.split_at(1);
        check(&service, &[slice("a", first), slice("b", second)], expected);
        check(&service, &[slice("a", second), slice("b", first)], expected);
        check(&service, &[slice("a", &both)], expected);
    }
}

#[test]
fn s_5_otherwise_the_last_of_two_duplicates_wins() {
    let none: &[(&str, &[&str])] = &[("shop/backend/TCP", &[])];
    let service = service(&["10.96.0.10"]);
    check(
        &service,
        &[
            slice("a", &[ready("10.0.0.1")]),
            slice("b", &[unready("10.0.0.1")]),
        ],
        none,
    );
    check(
        &service,
        &[
            slice("a", &[draining("10.0.0.1")]),
            slice("b", &[gone("10.0.0.1")]),
        ],
        none,
    );
}

#[test]
fn s_5_one_address_with_two_ports_is_two_endpoints() {
    let second = EndpointSlice {
        ports: vec![endpoint_port("", Protocol::Tcp, 8081)],
        ..slice("b", &[ready("10.0.0.1")])
    };
    check(
        &service(&["10.96.0.10"]),
        &[slice("a", &[ready("10.0.0.1")]), second],
        &[(
            "shop/backend/TCP",
            &["10.0.0.1:8080 cluster", "10.0.0.1:8081 cluster"],
        )],
    );
}

#[test]
fn s_7_each_family_is_resolved_on_its_own() {
    let service = service(&["fd00::10", "10.96.0.10"]);
    let slices = [
        slice(
            "four",
            &[
                ready("10.0.0.1").for_zones(&[ZONE]),
                ready("10.0.0.2").for_zones(&["zone-b"]),
            ],
        ),
        slice("six", &[draining("fd00:1::1"), gone("fd00:1::2")]),
    ];
    check(
        &service,
        &slices,
        &[(
            "shop/backend/TCP",
            &[
                "10.0.0.1:8080 cluster",
                "10.0.0.2:8080",
                "[fd00:1::1]:8080 cluster draining",
            ],
        )],
    );
    let ports = resolve(&service, &[&slices[0], &slices[1]], &node());
    let frontends: Vec<_> = ports[0].frontends.iter().map(ToString::to_string).collect();
    assert_eq!(frontends, ["10.96.0.10:80", "[fd00::10]:80"]);
    assert_eq!(ports[0].has_endpoints, [true, true]);
}

#[test]
fn s_7_endpoints_of_one_family_do_not_count_for_the_other() {
    let ports = resolve(
        &service(&["10.96.0.10", "fd00::10"]),
        &[&slice("six", &[ready("fd00:1::1")])],
        &node(),
    );
    assert_eq!(ports[0].has_endpoints, [false, true]);
}

#[test]
fn s_7_a_family_without_a_cluster_ip_is_not_programmed() {
    let slices = [
        slice("four", &[ready("10.0.0.1")]),
        slice("six", &[ready("fd00:1::1")]),
    ];
    check(
        &service(&["fd00::10"]),
        &slices,
        &[("shop/backend/TCP", &["[fd00:1::1]:8080 cluster"])],
    );
    let ports = resolve(&service(&["fd00::10"]), &[&slices[0], &slices[1]], &node());
    assert_eq!(ports[0].has_endpoints, [false, true]);
}

#[test]
fn s_25_policy_affinity_and_age_are_those_of_the_service() {
    let service = Service {
        internal_local: true,
        affinity_seconds: 10_800,
        ..service(&["10.96.0.10"])
    };
    let port = &resolve(&service, &[], &node())[0];
    assert!(port.internal_local);
    assert_eq!(port.affinity_seconds, 10_800);
    assert_eq!(port.created, service.created);
}
