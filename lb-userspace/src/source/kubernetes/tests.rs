//! The watch against sequences of events, and once against an API made of canned answers.

mod api;

use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;

/// A Service of the API whose ClusterIP is 10.96.0.`host`.
fn service(name: &str, host: u8) -> v1::Service {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"},
        "spec": {"clusterIP": format!("10.96.0.{host}"), "ports": [{"port": 80}]},
    }))
    .expect("a Service")
}

/// Events as words: `+name/host` and `-name`, for other kinds their name.
fn words(batch: &[SourceEvent]) -> Vec<String> {
    batch
        .iter()
        .map(|event| match event {
            SourceEvent::Service(name, Some(service)) => {
                format!("+{}={}", name.name, service.cluster_ips[0])
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
            SourceEvent::Synced { complete: true } => "synced".into(),
            SourceEvent::Synced { complete: false } => "synced in part".into(),
            SourceEvent::Problems { object, messages } => format!("!{object}: {}", messages.len()),
        })
        .collect()
}

#[track_caller]
fn check(watched: &mut Watched<Service>, events: Vec<Event<v1::Service>>, expected: &[&str]) {
    let told: Batch = events
        .into_iter()
        .flat_map(|event| watched.apply(event))
        .collect();
    assert_eq!(words(&told), expected);
}

fn list<const N: usize>(services: [v1::Service; N]) -> Vec<Event<v1::Service>> {
    let mut events = vec![Event::Init];
    events.extend(services.map(Event::InitApply));
    events.push(Event::InitDone);
    events
}

#[test]
fn s_8_a_new_list_tells_the_changes_alone() {
    let mut watched = Watched::default();
    check(
        &mut watched,
        list([service("a", 1), service("b", 2), service("c", 3)]),
        &["+a=10.96.0.1", "+b=10.96.0.2", "+c=10.96.0.3"],
    );
    check(
        &mut watched,
        list([service("a", 1), service("c", 4), service("d", 5)]),
        &["-b", "+c=10.96.0.4", "+d=10.96.0.5"],
    );
}

#[test]
fn s_8_a_list_that_breaks_off_tells_nothing() {
    let mut watched = Watched::default();
    check(&mut watched, list([service("a", 1)]), &["+a=10.96.0.1"]);
    check(
        &mut watched,
        vec![Event::Init, Event::InitApply(service("b", 2)), Event::Init],
        &[],
    );
    check(&mut watched, list([service("a", 1)])[1..].to_vec(), &[]);
}

#[test]
fn watched_changes_are_told_one_by_one() {
    let mut watched = Watched::default();
    check(&mut watched, list([]), &[]);
    check(
        &mut watched,
        vec![Event::Apply(service("a", 1))],
        &["+a=10.96.0.1"],
    );
    check(&mut watched, vec![Event::Apply(service("a", 1))], &[]);
    check(&mut watched, vec![Event::Delete(service("a", 1))], &["-a"]);
    check(&mut watched, vec![Event::Delete(service("a", 1))], &[]);
}

#[test]
fn s_1_a_service_that_goes_to_another_proxy_is_removed_and_comes_back() {
    let mut handed_over = service("a", 1);
    handed_over.metadata.labels = Some(
        [(
            "service.kubernetes.io/service-proxy-name".to_owned(),
            "other".to_owned(),
        )]
        .into(),
    );
    let mut watched = Watched::default();
    check(&mut watched, list([service("a", 1)]), &["+a=10.96.0.1"]);
    check(&mut watched, vec![Event::Apply(handed_over)], &["-a"]);
    check(
        &mut watched,
        vec![Event::Apply(service("a", 1))],
        &["+a=10.96.0.1"],
    );
}

#[test]
fn s_8_synced_waits_for_services_and_slices_but_not_for_a_node_that_cannot_be_listed() {
    let mut state = State::new("one");
    let failure = || watcher::Error::NoResourceVersion;
    assert_eq!(state.node(Err(failure())), []);
    assert_eq!(state.service(Err(failure())), []);
    assert_eq!(state.slice(Ok(Event::Init)), []);
    assert_eq!(state.slice(Ok(Event::InitDone)), []);
    assert_eq!(state.service(Ok(Event::Init)), []);
    assert_eq!(
        state.service(Ok(Event::InitDone)),
        [SourceEvent::Synced { complete: true }]
    );
    assert_eq!(state.slice(Ok(Event::Init)), []);
    assert_eq!(state.slice(Ok(Event::InitDone)), []);
}

#[test]
fn a_node_that_cannot_be_listed_is_told_from_one_that_is_not_there() {
    let node = |name: &str| -> v1::Node {
        serde_json::from_value(json!({"metadata": {"name": name}})).expect("a Node")
    };
    let failed = || Err(watcher::Error::NoResourceVersion);
    let check = |events: Vec<watcher::Result<Event<v1::Node>>>, words: Option<&str>| {
        let mut state = State::new("one");
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
    let list = |nodes: Vec<v1::Node>| {
        let mut events = vec![Ok(Event::Init)];
        events.extend(nodes.into_iter().map(|node| Ok(Event::InitApply(node))));
        events.push(Ok(Event::InitDone));
        events
    };
    let after_a_failure = |nodes| {
        let mut events = list(nodes);
        events.insert(0, failed());
        events
    };
    check(vec![], None);
    check(vec![failed()], Some("cannot be listed"));
    check(list(vec![]), Some("no Node object of this name"));
    check(list(vec![node("one")]), None);
    check(after_a_failure(vec![]), Some("no Node object of this name"));
    check(after_a_failure(vec![node("one")]), None);
}

#[test]
fn an_object_without_a_name_or_spec_is_harmless() {
    let mut watched = Watched::default();
    check(
        &mut watched,
        vec![Event::Apply(v1::Service::default())],
        &[],
    );
    check(&mut watched, list([v1::Service::default()]), &[]);
}

#[tokio::test]
async fn a_kubeconfig_that_is_missing_or_broken_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    let missing = connect(Some(&path))
        .await
        .err()
        .expect("no client")
        .to_string();
    std::fs::write(&path, "clusters: 5").expect("written");
    let broken = connect(Some(&path))
        .await
        .err()
        .expect("no client")
        .to_string();
    for message in [missing, broken] {
        assert!(
            message.starts_with(&format!("kubeconfig {}: ", path.display())),
            "{message}"
        );
        assert!(
            message.ends_with("pass another one with --kubeconfig"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_kubeconfig_with_tls_makes_a_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    let text = "
current-context: one
contexts: [{name: one, context: {cluster: one, user: one}}]
clusters: [{name: one, cluster: {server: 'https://192.0.2.1:6443', insecure-skip-tls-verify: true}}]
users: [{name: one, user: {token: secret}}]
";
    std::fs::write(&path, text).expect("written");
    connect(Some(&path)).await.expect("a client");
}
