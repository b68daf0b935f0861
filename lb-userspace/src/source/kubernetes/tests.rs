//! The watch against sequences of events, and against an API made of canned answers.

mod api;
mod credentials;
mod weather;

use k8s_openapi::api::core::v1;
use serde_json::{Value, json};

use super::watched::TRIGGER_TIME;
use super::*;
use crate::model::Unread;

/// A Service of the API as an item of a list, made of JSON as the API's are.
fn item(value: Value) -> Item<Service> {
    serde_json::from_value(value).expect("an object")
}

/// A Service of the API whose ClusterIP is 10.96.0.`host`.
fn service(name: &str, host: u8) -> v1::Service {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"},
        "spec": {"clusterIP": format!("10.96.0.{host}"), "ports": [{"port": 80}]},
    }))
    .expect("a Service")
}

/// Events as words: `+name/host` and `-name`, `!` behind the address of a Service that is not served, for other kinds their name.
fn words(batch: &[SourceEvent]) -> Vec<String> {
    batch
        .iter()
        .map(|event| match event {
            SourceEvent::Service(name, Some(service)) => {
                let unserved = if service.ports.is_empty() { "!" } else { "" };
                format!("+{}={}{unserved}", name.name, service.cluster_ips[0])
            }
            SourceEvent::Service(name, None) => format!("-{}", name.name),
            SourceEvent::EndpointSlice(name, Some(slice)) => {
                format!("+slice {}: {}", name.name, slice.endpoints.len())
            }
            SourceEvent::EndpointSlice(name, None) => format!("-slice {}", name.name),
            SourceEvent::Node(node) => format!(
                "node {:?}",
                node.as_ref().and_then(|node| node.zone.clone())
            ),
            SourceEvent::ServiceCidr(name, Some(object)) => {
                format!("+cidr {name}={}", object.ranges[0])
            }
            SourceEvent::ServiceCidr(name, None) => format!("-cidr {name}"),
            SourceEvent::ServiceCidrsKnown => "cidrs".to_owned(),
            SourceEvent::Synced(unread) => synced(unread),
            SourceEvent::Problems { object, messages } => format!("!{object}: {}", messages.len()),
        })
        .collect()
}

/// What was said to be unread: Services, owners of slices with `/`, and `?` for anything.
fn synced(unread: &Unread) -> String {
    let services = unread.services.iter().map(|name| format!(" {}", name.name));
    let owners = unread.owners.iter().map(|name| format!(" /{}", name.name));
    let anything = unread.anything.then(|| " ?".to_owned());
    let words = services.chain(owners).chain(anything);
    ["synced".to_owned()].into_iter().chain(words).collect()
}

#[track_caller]
fn check(told: &[SourceEvent], expected: &[&str]) {
    assert_eq!(words(told), expected);
}

/// As [`service`], as an item.
fn s(name: &str, host: u8) -> Item<Service> {
    item(serde_json::to_value(service(name, host)).expect("JSON"))
}

/// As [`s`], but with a port that is no number.
fn broken(name: &str) -> Item<Service> {
    let metadata = json!({"name": name, "namespace": "shop", "resourceVersion": "2"});
    item(json!({"metadata": metadata, "spec": {"ports": [{"port": "eighty"}]}}))
}

#[test]
fn s_8_a_new_list_tells_the_changes_alone() {
    let mut watched = Watched::<Service>::default();
    check(
        &watched.list(vec![s("a", 1), s("b", 2), s("c", 3)]),
        &["+a=10.96.0.1", "+b=10.96.0.2", "+c=10.96.0.3"],
    );
    check(
        &watched.list(vec![s("a", 1), s("c", 4), s("d", 5)]),
        &["-b", "+c=10.96.0.4", "+d=10.96.0.5"],
    );
}

#[test]
fn watched_changes_are_told_one_by_one() {
    let mut watched = Watched::<Service>::default();
    check(&watched.list(vec![]), &[]);
    check(&watched.put(s("a", 1)), &["+a=10.96.0.1"]);
    check(&watched.put(s("a", 1)), &[]);
    check(&watched.delete(s("a", 1)), &["-a"]);
    check(&watched.delete(s("a", 1)), &[]);
}

#[test]
fn s_1_a_service_that_goes_to_another_proxy_is_served_no_more_and_comes_back() {
    let mut handed_over = service("a", 1);
    handed_over.metadata.labels = Some(
        [(
            "service.kubernetes.io/service-proxy-name".to_owned(),
            "other".to_owned(),
        )]
        .into(),
    );
    let handed_over = item(serde_json::to_value(handed_over).expect("JSON"));
    let mut watched = Watched::<Service>::default();
    check(&watched.list(vec![s("a", 1)]), &["+a=10.96.0.1"]);
    check(&watched.put(handed_over), &["+a=10.96.0.1!"]);
    check(&watched.put(s("a", 1)), &["+a=10.96.0.1"]);
}

#[test]
fn an_object_that_cannot_be_read_stays_what_it_was_and_costs_no_other_anything() {
    let mut watched = Watched::<Service>::default();
    check(
        &watched.list(vec![s("a", 1), broken("b"), s("c", 3)]),
        &["+a=10.96.0.1", "!Service shop/b: 1", "+c=10.96.0.3"],
    );
    assert_eq!(watched.rejected(), 1);
    check(&watched.put(broken("a")), &["!Service shop/a: 1"]);
    assert_eq!(watched.rejected(), 2);
    check(
        &watched.list(vec![broken("a"), s("b", 2), s("c", 3)]),
        &["!Service shop/b: 0", "+b=10.96.0.2"],
    );
    check(&watched.put(s("a", 1)), &["!Service shop/a: 0"]);
    assert_eq!(watched.rejected(), 0);
    check(&watched.put(broken("c")), &["!Service shop/c: 1"]);
    check(&watched.delete(broken("c")), &["!Service shop/c: 0", "-c"]);
    assert_eq!(watched.rejected(), 0);
}

#[test]
fn s_30_d_of_a_service_that_cannot_be_read_the_addresses_are_known_where_they_can_be() {
    let odd = |ips: Value| {
        let metadata = json!({"name": "a", "namespace": "shop", "resourceVersion": "2"});
        item(
            json!({"metadata": metadata, "spec": {"clusterIPs": ips, "ports": [{"port": "eighty"}]}}),
        )
    };
    let mut watched = Watched::<Service>::default();
    check(
        &watched.put(odd(json!(["10.96.0.7"]))),
        &["!Service shop/a: 1", "+a=10.96.0.7!"],
    );
    check(&watched.put(odd(json!(["10.96.0.7"]))), &[]);
    check(
        &watched.put(s("a", 7)),
        &["!Service shop/a: 0", "+a=10.96.0.7"],
    );
    // Then what was known of it stays.
    check(
        &watched.put(odd(json!(["10.96.0.7"]))),
        &["!Service shop/a: 1"],
    );
    check(
        &watched.delete(odd(json!(["10.96.0.7"]))),
        &["!Service shop/a: 0", "-a"],
    );
    for nothing in [
        json!(null),
        json!([]),
        json!(["None"]),
        json!([7]),
        json!(7),
    ] {
        check(
            &Watched::<Service>::default().put(odd(nothing)),
            &["!Service shop/a: 1"],
        );
    }
}

#[test]
fn an_object_that_cannot_be_read_is_named_with_the_remedy() {
    let mut watched = Watched::<Service>::default();
    let told = watched.put(broken("a"));
    let [SourceEvent::Problems { object, messages }] = &told[..] else {
        panic!("one complaint, not {told:?}");
    };
    assert_eq!(object, "Service shop/a");
    assert!(
        messages[0].starts_with("Service shop/a can't be read (invalid type"),
        "{messages:?}"
    );
    assert!(messages[0].contains("correct it"), "{messages:?}");
}

fn failure() -> Failure {
    Failure::no_version()
}

#[test]
fn s_8_synced_waits_for_services_and_slices_but_not_for_a_node_that_cannot_be_listed() {
    let observed = Observed::default();
    let mut state = State::new("one", &observed);
    check(&state.node(Event::Failed(failure())).batch, &[]);
    check(&state.service(Event::Failed(failure())).batch, &[]);
    check(&state.slice(Event::List(vec![])).batch, &[]);
    check(&state.service(Event::List(vec![])).batch, &["synced"]);
    check(&state.slice(Event::List(vec![])).batch, &[]);
}

/// An earlier agent may have served it: what it left must not be deleted.
#[test]
fn s_8_a_first_list_with_a_service_that_cannot_be_read_names_it() {
    let observed = Observed::default();
    let mut state = State::new("one", &observed);
    check(&state.node(Event::List(vec![])).batch, &[]);
    check(&state.slice(Event::List(vec![])).batch, &[]);
    check(
        &state
            .service(Event::List(vec![s("a", 1), broken("b")]))
            .batch,
        &["+a=10.96.0.1", "!Service shop/b: 1", "synced b"],
    );
    check(
        &state.service(Event::Put(s("c", 3))).batch,
        &["+c=10.96.0.3"],
    );
    check(
        &state.service(Event::Put(s("b", 2))).batch,
        &["!Service shop/b: 0", "+b=10.96.0.2", "synced"],
    );
    check(
        &state.service(Event::Put(broken("a"))).batch,
        &["!Service shop/a: 1"],
    );
}

/// A slice of the first list that can't be read concerns the Service of its label, as far as that can be read.
#[test]
fn s_8_a_first_list_with_a_slice_that_cannot_be_read_names_its_owner() {
    let slice = |name: &str, labels: Value| -> Item<EndpointSlice> {
        let metadata = json!({"name": name, "namespace": "shop", "labels": labels});
        serde_json::from_value(json!({"metadata": metadata, "endpoints": 7})).expect("an object")
    };
    let of = |service: &str| json!({"kubernetes.io/service-name": service});
    let headless = json!({"kubernetes.io/service-name": "a", "service.kubernetes.io/headless": ""});
    for (labels, words) in [
        (of("a"), "synced /a"),
        (of(""), "synced"),
        (json!({}), "synced"),
        (json!(null), "synced"),
        (headless, "synced"),
        (json!({"kubernetes.io/service-name": 5}), "synced ?"),
        (json!(["a"]), "synced ?"),
    ] {
        let observed = Observed::default();
        let mut state = State::new("one", &observed);
        state.node(Event::List(vec![]));
        state.slice(Event::List(vec![slice("a-1", labels)]));
        check(&state.service(Event::List(vec![])).batch, &[words]);
    }

    let observed = Observed::default();
    let mut state = State::new("one", &observed);
    state.node(Event::List(vec![]));
    state.service(Event::List(vec![]));
    let first = vec![
        slice("a-1", of("a")),
        slice("a-2", of("a")),
        slice("b-1", of("b")),
    ];
    let told = state.slice(Event::List(first)).batch;
    assert_eq!(
        words(&told).last().map(String::as_str),
        Some("synced /a /b")
    );
    let mut last = |event| words(&state.slice(event).batch).pop();
    assert_eq!(
        last(Event::Delete(slice("a-1", of("a")))),
        Some("!EndpointSlice shop/a-1: 0".into())
    );
    assert_eq!(
        last(Event::Delete(slice("a-2", of("a")))),
        Some("synced /b".into())
    );
    // One that is new can't have been served.
    assert_eq!(
        last(Event::Put(slice("c-1", of("c")))),
        Some("!EndpointSlice shop/c-1: 1".into())
    );
    assert_eq!(
        last(Event::List(vec![slice("c-1", of("c"))])),
        Some("synced".into())
    );
}

#[test]
fn s_8_an_object_without_a_name_that_cannot_be_read_may_be_anything() {
    let observed = Observed::default();
    let mut state = State::new("one", &observed);
    state.node(Event::List(vec![]));
    state.slice(Event::List(vec![]));
    let nameless = || item(json!({"metadata": {"namespace": "shop", "name": 5}}));
    check(
        &state.service(Event::List(vec![nameless()])).batch,
        &["synced ?"],
    );
    check(
        &state.service(Event::List(vec![broken("b")])).batch,
        &["!Service shop/b: 1", "synced b"],
    );
}

#[test]
fn a_node_that_cannot_be_listed_is_told_from_one_that_is_not_there() {
    let node = || serde_json::from_value(json!({"metadata": {"name": "one"}})).expect("a Node");
    let check = |events: Vec<Event<Node>>, words: Option<&str>| {
        let observed = Observed::default();
        let mut state = State::new("one", &observed);
        for event in events {
            state.node(event);
        }
        let consequence = state.node.consequence();
        assert_eq!(consequence.is_some(), words.is_some(), "{consequence:?}");
        let text = consequence.unwrap_or_default();
        assert!(text.contains(words.unwrap_or_default()), "{text}");
        assert_eq!(
            text.contains("--node-name"),
            state.node == NodeWatch::Absent
        );
    };
    let failed = || Event::Failed(failure());
    check(vec![], None);
    check(vec![failed()], Some("cannot be listed"));
    check(
        vec![Event::List(vec![])],
        Some("no Node object of this name"),
    );
    check(vec![Event::List(vec![node()])], None);
    check(
        vec![failed(), Event::List(vec![])],
        Some("no Node object of this name"),
    );
    check(vec![failed(), Event::List(vec![node()])], None);
}

#[test]
fn s_61_a_node_that_is_absent_deleted_or_tainted_is_not_eligible() {
    let observed = Observed::default();
    let mut state = State::new("one", &observed);
    let node = |more: Value| {
        let mut node = json!({"metadata": {"name": "one"}});
        for (key, value) in more.as_object().expect("an object") {
            node[key] = value.clone();
        }
        serde_json::from_value::<Item<Node>>(node).expect("a Node")
    };
    let plain = || node(json!({}));
    let tainted = || {
        let taint = |key: &str| json!({"key": key, "effect": "NoSchedule"});
        node(json!({"spec": {"taints": [taint("other"), taint("ToBeDeletedByClusterAutoscaler")]}}))
    };
    let deleted =
        node(json!({"metadata": {"name": "one", "deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let unreadable = node(json!({"spec": 5}));
    assert_eq!(observed.node(), NodeState::Absent, "before the first list");
    for (event, expected) in [
        (Event::List(vec![]), NodeState::Absent),
        (Event::List(vec![plain()]), NodeState::Eligible),
        (Event::Put(tainted()), NodeState::Tainted),
        (Event::Put(unreadable), NodeState::Tainted),
        (Event::Failed(failure()), NodeState::Tainted),
        (Event::Put(plain()), NodeState::Eligible),
        (Event::Put(deleted), NodeState::Deleted),
        (Event::Delete(plain()), NodeState::Absent),
        (Event::List(vec![tainted()]), NodeState::Tainted),
    ] {
        let words = format!("{event:?}");
        state.node(event);
        assert_eq!(observed.node(), expected, "{words}");
    }
}

#[test]
fn the_cause_of_a_changed_slice_is_told_once_unless_it_is_older_than_the_agent() {
    let observed = Observed::default();
    let mut state = State::new("one", &observed);
    let started = state.started;
    let slice = |at: Timestamp, address: &str| -> Item<EndpointSlice> {
        serde_json::from_value(json!({
            "metadata": {
                "name": "a-1", "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "a"},
                "annotations": {TRIGGER_TIME: at.to_string()},
            },
            "addressType": "IPv4",
            "ports": [{"port": 8080}],
            "endpoints": [{"addresses": [address]}],
        }))
        .expect("a slice")
    };
    let hour = jiff::SignedDuration::from_hours(1);
    let (old, new) = (started - hour, started + hour);
    let mut triggers = |event| state.slice(event).triggers;
    assert_eq!(triggers(Event::List(vec![slice(old, "10.0.0.1")])), []);
    let [trigger] = triggers(Event::Put(slice(new, "10.0.0.2")))[..] else {
        panic!("one cause");
    };
    assert_eq!(
        (trigger.family, trigger.at),
        (crate::model::Family::V4, new)
    );
    assert_eq!(
        triggers(Event::Put(slice(new, "10.0.0.2"))),
        [],
        "nothing has changed"
    );
    assert_eq!(
        triggers(Event::List(vec![slice(new, "10.0.0.3")])).len(),
        1,
        "a change that a list shows"
    );
    assert_eq!(triggers(Event::Delete(slice(new, "10.0.0.3"))), []);
}

#[test]
fn an_object_without_a_name_or_spec_is_harmless() {
    let mut watched = Watched::<Service>::default();
    let empty = || item(json!({}));
    check(&watched.put(empty()), &[]);
    check(
        &watched.list(vec![empty(), item(json!({"metadata": 5}))]),
        &[],
    );
}
