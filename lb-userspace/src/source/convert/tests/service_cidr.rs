//! ServiceCIDRs (S-30 d).

use serde_json::{Value, json};

use crate::source::convert::service_cidr;

#[track_caller]
fn check(object: Value, expected: &[&str], problems: &[&str]) {
    let object = serde_json::from_value(object).expect("a ServiceCIDR");
    let converted = service_cidr(&object);
    let ranges = converted.object.iter().flat_map(|object| &object.ranges);
    let ranges: Vec<String> = ranges.map(ToString::to_string).collect();
    assert_eq!(ranges, expected);
    assert_eq!(converted.problems.len(), problems.len());
    for (problem, words) in converted.problems.iter().zip(problems) {
        let problem = problem.to_string();
        assert!(problem.contains(words), "{problem}");
    }
}

fn ready(status: &str) -> Value {
    json!({"conditions": [
        {"type": "Other", "status": "False", "reason": "r", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"},
        {"type": "Ready", "status": status, "reason": "r", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"},
    ]})
}

#[test]
fn s_30_d_the_ranges_of_both_families_count() {
    let spec = json!({"cidrs": ["10.96.0.0/12", "fd00:10:96::/112"]});
    let both = ["10.96.0.0/12", "fd00:10:96::/112"];
    check(json!({"metadata": {}, "spec": spec}), &both, &[]);
    for status in ["True", "Unknown"] {
        check(
            json!({"metadata": {}, "spec": spec, "status": ready(status)}),
            &both,
            &[],
        );
    }
    check(json!({"metadata": {}}), &[], &[]);
    check(json!({"metadata": {}, "spec": {"cidrs": []}}), &[], &[]);
}

#[test]
fn s_30_d_ranges_that_no_service_gets_an_address_from_do_not_count() {
    let spec = json!({"cidrs": ["10.96.0.0/12"]});
    check(
        json!({"metadata": {}, "spec": spec, "status": ready("False")}),
        &[],
        &[],
    );
    check(
        json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}, "spec": spec, "status": ready("True")}),
        &[],
        &[],
    );
}

#[test]
fn a_range_that_does_not_parse_costs_no_other() {
    check(
        json!({"metadata": {}, "spec": {"cidrs": ["10.96.0.0/33", "::/0", "10.97.0.0/16"]}}),
        &["10.97.0.0/16"],
        &["0 to 32; correct spec.cidrs", "all addresses"],
    );
}
