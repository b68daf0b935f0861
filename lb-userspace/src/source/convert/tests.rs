//! Conversions, in and out as JSON and words.

mod service;
mod service_cidr;
mod slice;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use crate::model::ObjectName;

/// An object of the API from JSON.
fn object<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("an object of the API")
}

fn name() -> ObjectName {
    ObjectName::new("shop", "backend")
}

/// `base` with the members of `change` put in, `null` taking one out, objects merged member by member.
fn merged(mut base: Value, change: Value) -> Value {
    match (&mut base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                let old = base.remove(&key).unwrap_or(Value::Null);
                let new = merged(old, value);
                if !new.is_null() {
                    base.insert(key, new);
                }
            }
        }
        (base, change) => *base = change,
    }
    base
}

#[track_caller]
fn check_problems<T>(converted: &Converted<T>, expected: &[&str]) {
    let problems: Vec<_> = converted.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(
            problem.starts_with(start),
            "{problem:?} should start with {start:?}"
        );
        assert!(
            problem.contains("; ") && !problem.contains('\n'),
            "one sentence with a remedy: {problem:?}"
        );
    }
}

#[test]
fn s_21_a_node_has_a_name_and_perhaps_a_zone() {
    for (labels, zone) in [
        (
            serde_json::json!({"topology.kubernetes.io/zone": "zone-a"}),
            Some("zone-a"),
        ),
        (serde_json::json!({"topology.kubernetes.io/zone": ""}), None),
        (serde_json::json!({}), None),
        (Value::Null, None),
    ] {
        let converted = node(&object(
            serde_json::json!({"metadata": {"name": "one", "labels": labels}}),
        ));
        assert_eq!(
            (converted.name.as_str(), converted.zone.as_deref()),
            ("one", zone)
        );
    }
}
