//! Events sent to an API that writes down what it is asked.

use std::sync::Mutex;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;

#[derive(Clone, Default)]
struct Api {
    asked: Arc<Mutex<Vec<(Method, String, Value)>>>,
    refuses: Arc<Mutex<bool>>,
}

impl Api {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.uri.path().to_owned();
        let is_create = head.method == Method::POST;
        self.asked
            .lock()
            .expect("no test panicked")
            .push((head.method, path, body.clone()));
        let refuses = *self.refuses.lock().expect("no test panicked");
        let (code, answer) = if is_create && refuses {
            let status = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
            (403, status)
        } else if is_create {
            (201, body)
        } else {
            let metadata = json!({"name": "cart", "namespace": "shop", "uid": "uid-of-cart"});
            (200, json!({"metadata": metadata}))
        };
        Response::builder()
            .status(code)
            .body(Body::from(answer.to_string().into_bytes()))
            .expect("an answer")
    }

    fn created(&self) -> Vec<Value> {
        let asked = self.asked.lock().expect("no test panicked");
        asked
            .iter()
            .filter(|(method, ..)| *method == Method::POST)
            .map(|(_, _, body)| body.clone())
            .collect()
    }

    /// Waits until so many were created.
    async fn wait_for(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(3_600);
        while self.created().len() < count {
            assert!(Instant::now() < deadline, "{:?}", self.created());
            sleep(Duration::from_millis(100)).await;
        }
        self.created()
    }
}

fn cart() -> Regarding {
    Regarding::Service(ObjectName::new("shop", "cart"))
}

#[tokio::test(start_paused = true)]
async fn s_64_an_event_names_its_object_as_tools_look_for_it() {
    let api = Api::default();
    let events = Events::to(api.client(), "node-1", Arc::default());
    events.starting();
    events.of_object(cart(), "Invalid", "Service shop/cart: no port");
    let [start, problem] = &api.wait_for(2).await[..] else {
        panic!("two Events");
    };
    for (event, field, expected) in [
        (start, "/regarding/kind", "Node"),
        (start, "/regarding/name", "node-1"),
        (start, "/regarding/uid", "node-1"),
        (start, "/type", "Normal"),
        (start, "/reason", "Starting"),
        (start, "/reportingInstance", "node-1"),
        (problem, "/regarding/kind", "Service"),
        (problem, "/regarding/apiVersion", "v1"),
        (problem, "/regarding/namespace", "shop"),
        (problem, "/regarding/uid", "uid-of-cart"),
        (problem, "/metadata/namespace", "shop"),
        (problem, "/type", "Warning"),
        (problem, "/note", "Service shop/cart: no port"),
    ] {
        assert_eq!(
            event.pointer(field),
            Some(&json!(expected)),
            "{field} of {event}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_event_twice_is_created_twice_and_nothing_is_patched() {
    let api = Api::default();
    let events = Events::to(api.client(), "node-1", Arc::default());
    events.of_object(cart(), "Invalid", "one");
    events.of_object(cart(), "Invalid", "one");
    api.wait_for(2).await;
    let asked = api.asked.lock().expect("no test panicked");
    let methods: Vec<_> = asked.iter().map(|(method, ..)| method.clone()).collect();
    assert_eq!(
        methods,
        [Method::GET, Method::POST, Method::GET, Method::POST]
    );
    let paths: Vec<_> = asked.iter().map(|(_, path, _)| path.as_str()).collect();
    assert_eq!(
        paths[..2],
        [
            "/api/v1/namespaces/shop/services/cart",
            "/apis/events.k8s.io/v1/namespaces/shop/events"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_slowed_down_and_what_is_too_much_is_dropped_at_once() {
    let api = Api::default();
    let metrics = Arc::new(Metrics::default());
    let events = Events::to(api.client(), "node-1", metrics);
    let began = Instant::now();
    for _ in 0..1_000 {
        events.of_object(cart(), "Invalid", "again");
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits");
    api.wait_for(20).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "a burst goes at once"
    );
    let sent = api.wait_for(WAITING).await;
    let took = began.elapsed().as_secs();
    assert!((200..240).contains(&took), "{} took {took} s", sent.len());
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(api.created().len(), WAITING);
}

#[tokio::test(start_paused = true)]
async fn an_api_that_takes_no_events_stops_nothing() {
    let api = Api::default();
    *api.refuses.lock().expect("no test panicked") = true;
    let events = Events::to(api.client(), "node-1", Arc::default());
    events.starting();
    events.starting();
    api.wait_for(2).await;
    *api.refuses.lock().expect("no test panicked") = false;
    events.starting();
    assert_eq!(api.wait_for(3).await.len(), 3);
}

#[test]
fn objects_are_found_by_their_words_and_notes_are_cut_where_a_letter_ends() {
    assert_eq!(Regarding::named("Service shop/cart"), Some(cart()));
    let slice = Regarding::EndpointSlice(ObjectName::new("shop", "cart-1"));
    assert_eq!(Regarding::named("EndpointSlice shop/cart-1"), Some(slice));
    for other in [
        "file web.yaml",
        "file a/b.yaml",
        "Node /one",
        "Service cart",
        "",
    ] {
        assert_eq!(Regarding::named(other), None, "{other}");
    }
    let long = "ä".repeat(LONGEST_NOTE);
    assert_eq!(shortened(&long).chars().count(), LONGEST_NOTE / 2);
    assert_eq!(shortened("short"), "short");
}
