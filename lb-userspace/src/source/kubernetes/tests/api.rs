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

fn cidr(name: &str, range: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "11"}, "spec": {"cidrs": [range]}})
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
    const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    let node = json!({
        "metadata": {"name": "one", "labels": {"topology.kubernetes.io/zone": "zone-a"}, "resourceVersion": "1"},
    });
    let added =
        json!({"type": "ADDED", "object": serde_json::to_value(service("c", 3)).expect("JSON")});
    let second = json!({"type": "ADDED", "object": cidr("second", "10.112.0.0/24")});
    let no_more = json!({"type": "DELETED", "object": cidr("second", "10.112.0.0/24")});
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
            (
                CIDRS,
                [list_of(
                    "ServiceCIDRList",
                    "networking.k8s.io/v1",
                    vec![cidr("kubernetes", "10.96.0.0/12")],
                )]
                .into(),
            ),
        ],
        watches: vec![
            (SERVICES, [vec![added, gone]].into()),
            (CIDRS, [vec![second, no_more]].into()),
        ],
    }));
    let (sender, mut events) = mpsc::channel(16);
    let source = tokio::spawn({
        let client = client(&answers);
        async move { run(client, "one", true, sender, &Observed::default()).await }
    });

    let first = vec![
        "+a=10.96.0.1",
        "+b=10.96.0.2",
        "+c=10.96.0.3",
        "+slice a-1: 1",
        "node Some(\"zone-a\")",
        "synced",
        "+cidr kubernetes=10.96.0.0/12",
        "cidrs",
        "+cidr second=10.112.0.0/24",
        "-cidr second",
    ];
    expect(&mut events, first).await;
    expect(&mut events, vec!["-b", "+d=10.96.0.4"]).await;

    let asked = answers.lock().expect("no test panicked").asked.clone();
    for (path, filter) in [
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

/// An API server that refuses lists of ServiceCIDRs, or has none, and whose other kinds have no object.
fn without_service_cidrs(code: u16, asked: Arc<Mutex<u32>>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let is_watch = request
            .uri()
            .query()
            .unwrap_or_default()
            .contains("watch=true");
        let asked = asked.clone();
        async move {
            if is_watch {
                return pending().await;
            }
            let answer = if path.ends_with("servicecidrs") {
                *asked.lock().expect("no test panicked") += 1;
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no", "reason": "x", "code": code,
                });
                Response::builder()
                    .status(code)
                    .body(Body::from(status.to_string().into_bytes()))
            } else {
                Ok(Response::new(Body::from(
                    list_of("List", "v1", vec![]).to_string().into_bytes(),
                )))
            };
            Ok::<_, Infallible>(answer.expect("an answer"))
        }
    });
    Client::new(service, "default")
}

#[tokio::test(start_paused = true)]
async fn s_30_d_an_api_without_service_cidrs_holds_nothing_up_and_is_hardly_asked_again() {
    for (code, most, connected) in [(404, 1, None), (403, 20, Some(false))] {
        let asked = Arc::new(Mutex::new(0));
        let observed = Arc::new(Observed::default());
        let (sender, mut events) = mpsc::channel(16);
        let source = tokio::spawn({
            let client = without_service_cidrs(code, asked.clone());
            let observed = observed.clone();
            async move { run(client, "one", true, sender, &observed).await }
        });
        expect(&mut events, vec!["synced", "cidrs"]).await;
        tokio::time::sleep(std::time::Duration::from_secs(300)).await;
        let asked = *asked.lock().expect("no test panicked");
        assert!((1..=most).contains(&asked), "{code}: asked {asked} times");
        let watches = observed.watches();
        let watch = watches.get("ServiceCIDR").map(|watch| watch.connected);
        assert_eq!(watch, connected, "{code}");
        assert!(events.try_recv().is_err(), "{code}: nothing more is told");
        drop(events);
        source.await.expect("the source ends when nobody listens");
    }
}
