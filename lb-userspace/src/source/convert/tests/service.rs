//! Services: which are served, and what of them.

use serde_json::json;

use super::*;
use crate::model::Service;

/// The Service that every case changes.
fn base() -> Value {
    json!({
        "metadata": {"name": "backend", "namespace": "shop", "creationTimestamp": "2026-01-02T03:04:05Z"},
        "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [{"port": 80, "targetPort": "http"}]},
    })
}

fn convert(change: Value) -> Converted<Service> {
    service(&name(), &object(merged(base(), change)))
}

/// Addresses and ports of what is served, `none` where nothing is.
fn words(converted: &Converted<Service>) -> String {
    let Some(service) = &converted.object else {
        return "none".into();
    };
    let ips = service.cluster_ips.iter().map(ToString::to_string);
    let ports = service
        .ports
        .iter()
        .map(|port| format!("{}:{}/{}", port.name, port.port, port.protocol.name()));
    ips.chain(ports).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(change: Value, expected: &str, problems: &[&str]) {
    let converted = convert(change);
    assert_eq!(words(&converted), expected);
    check_problems(&converted, problems);
}

#[test]
fn a_plain_service_is_served() {
    let converted = convert(json!({}));
    assert_eq!(words(&converted), "10.96.0.10 :80/TCP");
    let service = converted.object.expect("served");
    assert_eq!(service.name, name());
    assert_eq!(service.created, 1_767_323_045);
    assert_eq!(
        (service.internal_local, service.affinity_seconds),
        (false, 0)
    );
}

#[test]
fn s_1_of_a_service_of_another_proxy_the_addresses_alone_are_known() {
    let labels = json!({"labels": {"service.kubernetes.io/service-proxy-name": ""}});
    check(json!({"metadata": labels}), "10.96.0.10", &[]);
    let broken = json!({"clusterIPs": ["10.96.0.10", "odd", "fd00::10"], "ports": []});
    check(
        json!({"metadata": labels, "spec": broken}),
        "10.96.0.10 fd00::10",
        &[],
    );
    let headless = json!({"clusterIP": "None", "clusterIPs": ["None"]});
    check(json!({"metadata": labels, "spec": headless}), "none", &[]);
}

#[test]
fn s_1_services_without_an_address_are_not_served() {
    for change in [
        json!({"spec": {"type": "ExternalName", "externalName": "example.org"}}),
        json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
        json!({"spec": {"clusterIP": "None", "clusterIPs": null}}),
        json!({"spec": {"clusterIP": "", "clusterIPs": null}}),
        json!({"spec": {"clusterIP": "", "clusterIPs": [""]}}),
        json!({"spec": {"clusterIP": null, "clusterIPs": null}}),
        json!({"spec": null}),
        json!({"spec": null, "metadata": null}),
    ] {
        check(change, "none", &[]);
    }
}

#[test]
fn s_7_there_is_one_cluster_ip_of_each_family() {
    let ips = |ips: &[&str]| json!({"spec": {"clusterIPs": ips}});
    check(
        ips(&["fd00::10", "10.96.0.10"]),
        "fd00::10 10.96.0.10 :80/TCP",
        &[],
    );
    check(
        json!({"spec": {"clusterIPs": null}}),
        "10.96.0.10 :80/TCP",
        &[],
    );
    check(ips(&["010.096.000.010"]), "10.96.0.10 :80/TCP", &[]);
    check(
        ips(&["10.96.0.10", "10.96.0.11", "fd00::10"]),
        "10.96.0.10 fd00::10 :80/TCP",
        &["cluster IP 10.96.0.11 is ignored"],
    );
}

#[test]
fn s_7_an_invalid_cluster_ip_costs_its_family_alone() {
    let ips = |ips: &[&str]| json!({"spec": {"clusterIPs": ips}});
    let invalid = "cluster IP \"10.96.0.300\" is not an IP address";
    check(
        ips(&["10.96.0.300", "fd00::10"]),
        "fd00::10 :80/TCP",
        &[invalid],
    );
    check(ips(&["10.96.0.300"]), "none", &[invalid]);
    for (ip, what) in [
        ("0.0.0.0", "unspecified"),
        ("127.0.0.1", "a loopback address"),
        ("224.0.0.1", "a multicast address"),
        ("255.255.255.255", "the broadcast address"),
        ("::", "unspecified"),
        ("::1", "a loopback address"),
        ("ff02::1", "a multicast address"),
    ] {
        check(ips(&[ip]), "none", &[&format!("cluster IP {ip} is {what}")]);
    }
    for text in [
        "10.96.0",
        "10.96.0.10.1",
        "10.96..10",
        "0010.96.0.1",
        "+1.2.3.4",
        "10.96.0.10/32",
        "backend",
    ] {
        check(
            ips(&[text]),
            "none",
            &[&format!("cluster IP {text:?} is not an IP address")],
        );
    }
}

#[test]
fn a_port_that_cannot_be_served_costs_itself_alone() {
    let ports = |ports: Value| json!({"spec": {"ports": ports}});
    check(
        ports(json!([
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            {"name": "m3ua", "port": 2905, "protocol": "SCTP"},
            {"name": "lite", "port": 136, "protocol": "UDPLite"},
            {"name": "zero", "port": 0},
            {"name": "big", "port": 65536},
            {"name": "less", "port": -1},
            {"name": "last", "port": 65535},
        ])),
        "10.96.0.10 dns:53/UDP dns-tcp:53/TCP m3ua:2905/SCTP last:65535/TCP",
        &[
            "port 136 is not served, because its protocol is \"UDPLite\"",
            "port \"zero\" has the number 0",
            "port \"big\" has the number 65536",
            "port \"less\" has the number -1",
        ],
    );
    check(
        ports(json!([{"port": 9, "protocol": "sctp"}])),
        "10.96.0.10",
        &["port 9 is not served, because its protocol is \"sctp\""],
    );
    for none in [Value::Null, json!([])] {
        check(ports(none), "10.96.0.10", &["no port is left to serve"]);
    }
}

#[test]
fn s_2_of_two_ports_with_one_identity_the_first_is_served() {
    check(
        json!({"spec": {"ports": [
            {"name": "web", "port": 80},
            {"name": "web", "port": 81},
            {"name": "other", "port": 80},
            {"name": "web", "port": 80, "protocol": "UDP"},
        ]}}),
        "10.96.0.10 web:80/TCP web:80/UDP",
        &[
            "port \"web\" 81/TCP is ignored",
            "port \"other\" 80/TCP is ignored",
        ],
    );
}

#[track_caller]
fn check_affinity(change: Value, seconds: u32, problems: &[&str]) {
    let converted = convert(json!({"spec": change}));
    check_problems(&converted, problems);
    assert_eq!(converted.object.expect("served").affinity_seconds, seconds);
}

#[test]
fn s_25_affinity_lasts_as_long_as_the_service_says() {
    let with_timeout = |seconds: i32| json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}});
    check_affinity(json!({"sessionAffinity": "None"}), 0, &[]);
    check_affinity(json!({"sessionAffinity": "ClientIP"}), 10_800, &[]);
    check_affinity(
        json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {}}),
        10_800,
        &[],
    );
    check_affinity(with_timeout(1), 1, &[]);
    check_affinity(with_timeout(86_400), 86_400, &[]);
    for seconds in [0, -1, 86_401] {
        check_affinity(
            with_timeout(seconds),
            10_800,
            &[&format!("session affinity timeout {seconds} s")],
        );
    }
    check_affinity(
        json!({"sessionAffinity": "clientip"}),
        0,
        &["session affinity \"clientip\" is unknown"],
    );
}

#[test]
fn s_23_the_internal_policy_is_cluster_unless_it_is_local() {
    for (policy, local, problems) in [
        (json!(null), false, &[][..]),
        (json!("Cluster"), false, &[]),
        (json!("Local"), true, &[]),
        (
            json!("local"),
            false,
            &["internal traffic policy \"local\" is unknown"],
        ),
    ] {
        let converted = convert(json!({"spec": {"internalTrafficPolicy": policy}}));
        check_problems(&converted, problems);
        assert_eq!(converted.object.expect("served").internal_local, local);
    }
}
