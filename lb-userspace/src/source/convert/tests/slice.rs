//! EndpointSlices: which are used, and what of them.

use serde_json::json;

use super::*;
use crate::model::{Endpoint, EndpointSlice};

/// The slice that every case changes.
fn base() -> Value {
    json!({
        "metadata": {"name": "backend", "namespace": "shop", "labels": {"kubernetes.io/service-name": "backend"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    })
}

fn convert(change: Value) -> Converted<EndpointSlice> {
    endpoint_slice(&name(), &object(merged(base(), change)))
}

/// Ports and addresses of what is used, `none` where nothing is.
#[track_caller]
fn check(change: Value, expected: &str, problems: &[&str]) {
    let converted = convert(change);
    let words = converted.object.as_ref().map_or("none".into(), |slice| {
        let ports = slice
            .ports
            .iter()
            .map(|port| format!("{}:{}/{}", port.name, port.port, port.protocol.name()));
        let addresses = slice
            .endpoints
            .iter()
            .map(|endpoint| endpoint.address.to_string());
        ports.chain(addresses).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(words, expected);
    check_problems(&converted, problems);
}

#[track_caller]
fn endpoint(change: Value) -> Endpoint {
    let object = merged(json!({"addresses": ["10.0.0.1"]}), change);
    let slice = convert(json!({"endpoints": [object]}))
        .object
        .expect("used");
    slice.endpoints[0].clone()
}

#[test]
fn s_3_a_slice_belongs_to_the_service_that_its_label_names() {
    let slice = convert(json!({})).object.expect("used");
    assert_eq!((slice.name.clone(), &*slice.service), (name(), "backend"));
    let label =
        |value: Value| json!({"metadata": {"labels": {"kubernetes.io/service-name": value}}});
    check(label(json!("")), "none", &[]);
    check(label(Value::Null), "none", &[]);
    check(json!({"metadata": null}), "none", &[]);
}

#[test]
fn s_1_slices_of_headless_services_are_not_used() {
    check(
        json!({"metadata": {"labels": {"service.kubernetes.io/headless": ""}}}),
        "none",
        &[],
    );
}

#[test]
fn s_3_other_address_types_are_not_used() {
    check(
        json!({"addressType": "FQDN", "endpoints": [{"addresses": ["example.org"]}]}),
        "none",
        &[],
    );
    check(
        json!({"addressType": "IPv5"}),
        "none",
        &["address type \"IPv5\" is unknown"],
    );
    check(
        json!({"addressType": null}),
        "none",
        &["address type \"\" is unknown"],
    );
}

#[test]
fn s_3_ports_without_a_number_are_skipped_and_bad_ones_cost_themselves_alone() {
    check(
        json!({"ports": [
            {"name": "all"}, {"name": "zero", "port": 0}, {"port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "m3ua", "port": 2905, "protocol": "SCTP"}, {"name": "low", "port": 1, "protocol": "tcp"},
            {"name": "big", "port": 65536},
        ]}),
        ":80/TCP dns:53/UDP m3ua:2905/SCTP 10.0.0.1",
        &[
            "endpoint port \"low\" is not used",
            "endpoint port \"big\" has the number 65536",
        ],
    );
    check(json!({"ports": null}), "10.0.0.1", &[]);
}

#[test]
fn s_3_only_the_first_address_of_an_endpoint_counts() {
    check(
        json!({"endpoints": [{"addresses": ["10.0.0.2", "rubbish"]}]}),
        "http:8080/TCP 10.0.0.2",
        &[],
    );
}

#[test]
fn a_bad_endpoint_costs_itself_alone() {
    check(
        json!({"endpoints": [
            {"addresses": ["10.0.0.300"]}, {"addresses": []}, {}, {"addresses": ["fd00::1"]}, {"addresses": ["127.0.0.1"]},
            {"addresses": ["169.254.1.1"]}, {"addresses": ["10.0.0.9"]},
        ]}),
        "http:8080/TCP 10.0.0.9",
        &[
            "endpoint address \"10.0.0.300\" is not an IP address",
            "endpoint 1 has no address",
            "endpoint 2 has no address",
            "endpoint address fd00::1 is not used, because it is not of the slice's type IPv4",
            "endpoint address 127.0.0.1 is a loopback address",
            "endpoint address 169.254.1.1 is a link-local address",
        ],
    );
    check(
        json!({"addressType": "IPv6", "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["fe80::1"]}, {"addresses": ["fd00::1"]}]}),
        "http:8080/TCP fd00::1",
        &[
            "endpoint address 10.0.0.1 is not used, because it is not of the slice's type IPv6",
            "endpoint address fe80::1 is a link-local address",
        ],
    );
    check(json!({"endpoints": null}), "http:8080/TCP", &[]);
}

#[test]
fn s_4_conditions_that_are_not_said_are_ready_serving_and_not_terminating() {
    for (conditions, expected) in [
        (json!(null), (true, true, false)),
        (json!({}), (true, true, false)),
        (json!({"ready": false}), (false, true, false)),
        (json!({"serving": false}), (true, false, false)),
        (json!({"terminating": true}), (true, true, true)),
        (
            json!({"ready": false, "serving": true, "terminating": true}),
            (false, true, true),
        ),
    ] {
        let endpoint = endpoint(json!({"conditions": conditions}));
        assert_eq!(
            (endpoint.ready, endpoint.serving, endpoint.terminating),
            expected,
            "{conditions}"
        );
    }
}

#[test]
fn s_6_and_s_21_node_and_hints_are_kept() {
    let full = endpoint(json!({
        "nodeName": "one",
        "hints": {"forZones": [{"name": "zone-a"}, {"name": "zone-b"}], "forNodes": [{"name": "one"}]},
    }));
    assert_eq!(full.node.as_deref(), Some("one"));
    assert_eq!(full.zone_hints, ["zone-a", "zone-b"]);
    assert_eq!(full.node_hints, ["one"]);
    let bare = endpoint(json!({"nodeName": "", "hints": {}}));
    assert_eq!(bare.node, None);
    assert!(bare.zone_hints.is_empty() && bare.node_hints.is_empty());
}
