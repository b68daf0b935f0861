//! A whole list and watch, with an API made of canned answers: what is asked, what is told, and a new list after 410.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::client::Body;
use tokio::sync::mpsc;

use super::*;

/// Answers in turn to lists and to watches of each path; the last watch stays silent for ever.
#[derive(Default)]
struct Answers {
    asked: Vec<String>,
    lists: Vec<(&'static str, VecDeque<Value>)>,
    watches: Vec<(&'static str, VecDeque<Vec<Value>>)>,
}

impl Answers {
    fn answer(&mut self, request: &Request<Body>) -> Option<Vec<u8>> {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        self.asked.push(format!("{path}?{query}"));
        let take = |path: &str, lists: &mut Vec<(&'static str, VecDeque<Value>)>| {
            lists
                .iter_mut()
                .find(|(of, _)| *of == path)
                .and_then(|(_, queue)| queue.pop_front())
        };
        if !query.contains("watch=true") {
            let list = take(path, &mut self.lists)
                .unwrap_or_else(|| panic!("no answer left for a list of {path}"));
            return Some(list.to_string().into_bytes());
        }
        let events = self
            .watches
            .iter_mut()
            .find(|(of, _)| *of == path)?
            .1
            .pop_front()?;
        let lines: Vec<_> = events.iter().map(|event| format!("{event}\n")).collect();
        Some(lines.concat().into_bytes())
    }
}

fn client(answers: &Arc<Mutex<Answers>>) -> Client {
    let answers = answers.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answers.lock().expect("no test panicked").answer(&request);
        async move {
            match answer {
                Some(bytes) => Ok::<_, Infallible>(Response::new(Body::from(bytes))),
                None => pending().await,
            }
        }
    });
    Client::new(service, "default")
}

fn list_of(kind: &str, api: &str, items: Vec<Value>) -> Value {
    json!({"kind": kind, "apiVersion": api, "metadata": {"resourceVersion": "10"}, "items": items})
}

fn services(items: &[(&str, u8)]) -> Value {
    let items = items
        .iter()
        .map(|(name, host)| serde_json::to_value(service(name, *host)).expect("JSON"));
    list_of("ServiceList", "v1", items.collect())
}

fn slice() -> Value {
    json!({
        "metadata": {"name": "a-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "a"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    })
}

async fn expect(events: &mut mpsc::Receiver<Batch>, mut expected: Vec<&str>) {
    let mut told = Vec::new();
    while told.len() < expected.len() {
        told.extend(words(&events.recv().await.expect("the source runs")));
    }
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn s_1_and_s_8_the_api_is_listed_watched_and_after_410_listed_anew() {
    const SERVICES: &str = "/api/v1/services";
    const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
    const NODES: &str = "/api/v1/nodes";
    let node = json!({
        "metadata": {"name": "one", "labels": {"topology.kubernetes.io/zone": "zone-a"}, "resourceVersion": "1"},
    });
    let added =
        json!({"type": "ADDED", "object": serde_json::to_value(service("c", 3)).expect("JSON")});
    let gone = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "too old", "reason": "Expired", "code": 410,
    }});
    let answers = Arc::new(Mutex::new(Answers {
        asked: Vec::new(),
        lists: vec![
            (
                SERVICES,
                [
                    services(&[("a", 1), ("b", 2)]),
                    services(&[("a", 1), ("c", 3), ("d", 4)]),
                ]
                .into(),
            ),
            (
                SLICES,
                [list_of(
                    "EndpointSliceList",
                    "discovery.k8s.io/v1",
                    vec![slice()],
                )]
                .into(),
            ),
            (NODES, [list_of("NodeList", "v1", vec![node])].into()),
        ],
        watches: vec![(SERVICES, [vec![added, gone]].into())],
    }));
    let (sender, mut events) = mpsc::channel(16);
    let source = tokio::spawn({
        let client = client(&answers);
        async move { run(client, "one", sender, &Observed::default()).await }
    });

    let first = vec![
        "+a=10.96.0.1",
        "+b=10.96.0.2",
        "+c=10.96.0.3",
        "+slice a-1: 1",
        "node Some(\"zone-a\")",
        "synced",
    ];
    expect(&mut events, first).await;
    expect(&mut events, vec!["-b", "+d=10.96.0.4"]).await;

    let asked = answers.lock().expect("no test panicked").asked.clone();
    for (path, filter) in [
        (
            SERVICES,
            "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name",
        ),
        (SERVICES, "fieldSelector=spec.clusterIP%21%3DNone"),
        (SLICES, "labelSelector=%21service.kubernetes.io%2Fheadless"),
        (NODES, "fieldSelector=metadata.name%3Done"),
    ] {
        let about: Vec<_> = asked
            .iter()
            .filter(|asked| asked.starts_with(path))
            .collect();
        assert!(
            !about.is_empty() && about.iter().all(|asked| asked.contains(filter)),
            "{filter} in {about:?}"
        );
    }

    drop(events);
    source.await.expect("the source ends when nobody listens");
}
