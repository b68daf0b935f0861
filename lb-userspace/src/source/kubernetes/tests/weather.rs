//! The API in bad weather, made of canned answers: what was told stays, what is asked next, and what is noted of it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::BoxStream;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

const SERVICES: &str = "/api/v1/services";

/// An answer to a question about Services.
enum Answer {
    /// A list, its version and the objects.
    List(u32, Vec<Value>),
    /// A page of a list and the token that the next one is asked for with.
    Page(&'static str, Vec<Value>),
    /// A watch of these lines, then its end.
    Watch(Vec<Value>),
    /// A watch of these lines, then silence.
    Silent(Vec<Value>),
    /// This status of HTTP.
    Status(u16, &'static str),
    /// No connection.
    Refused,
}

use Answer::{List, Page, Refused, Silent, Status, Watch};

struct Api {
    observed: Arc<Observed>,
    asked: Arc<Mutex<Vec<(Duration, String)>>>,
    batches: mpsc::Receiver<Batch>,
    source: JoinHandle<()>,
}

/// Answers the questions about Services in turn, the last one for ever; nothing else exists.
fn api(script: impl IntoIterator<Item = Answer>) -> Api {
    let script: Arc<Mutex<VecDeque<Answer>>> = Arc::new(Mutex::new(script.into_iter().collect()));
    let asked = Arc::<Mutex<Vec<(Duration, String)>>>::default();
    let began = Instant::now();
    let client = {
        let asked = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let uri = request.uri();
            let (path, query) = (uri.path(), uri.query().unwrap_or_default());
            let is_watch = query.contains("watch=true");
            let answer = if path == SERVICES {
                let question = format!("{} {query}", if is_watch { "watch" } else { "list" });
                asked
                    .lock()
                    .expect("no test panicked")
                    .push((began.elapsed(), question));
                script.lock().expect("no test panicked").pop_front()
            } else {
                Some(if is_watch {
                    Silent(vec![])
                } else {
                    List(1, vec![])
                })
            };
            async move { respond(answer.unwrap_or(Silent(vec![])), is_watch).await }
        });
        Client::new(service, "default")
    };
    let observed = Arc::new(Observed::default());
    let (sender, batches) = mpsc::channel(16);
    let source = tokio::spawn({
        let observed = observed.clone();
        async move { run(client, "one", false, sender, &observed).await }
    });
    Api {
        observed,
        asked,
        batches,
        source,
    }
}

type Said = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

async fn respond(answer: Answer, is_watch: bool) -> io::Result<Response<Said>> {
    let lines = |lines: &[Value]| -> Vec<u8> {
        let lines: Vec<_> = lines.iter().map(|line| format!("{line}\n")).collect();
        lines.concat().into_bytes()
    };
    let body = match &answer {
        List(version, items) => {
            assert!(!is_watch, "a list was asked for where a watch is next");
            let metadata = json!({"resourceVersion": version.to_string()});
            lines(&[
                json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}),
            ])
        }
        Page(token, items) => {
            assert!(!is_watch, "a list was asked for where a watch is next");
            let metadata = json!({"resourceVersion": "5", "continue": token});
            lines(&[
                json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}),
            ])
        }
        Watch(events) | Silent(events) => {
            assert!(is_watch, "a watch was asked for where a list is next");
            lines(events)
        }
        Status(code, message) => lines(&[status(*code, message)]),
        Refused => return Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
    };
    let code = match answer {
        Status(code, _) => code,
        _ => 200,
    };
    let said = futures::stream::once(async { Ok(Frame::data(Bytes::from(body))) });
    let body = match answer {
        Silent(_) => said.chain(futures::stream::pending()).boxed(),
        _ => said.boxed(),
    };
    Ok(Response::builder()
        .status(code)
        .body(StreamBody::new(body))
        .expect("an answer"))
}

fn status(code: u16, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": "Test",
        "code": code, "details": {"retryAfterSeconds": if code == 429 { 7 } else { 0 }},
    })
}

fn object(name: &str, host: u8, version: u32) -> Value {
    let mut object = serde_json::to_value(service(name, host)).expect("JSON");
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    object
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

impl Api {
    /// Waits until just this was told, and nothing more follows within the hour.
    async fn expect(&mut self, expected: &[&str]) {
        let mut told = Vec::new();
        while let Ok(batch) = timeout(Duration::from_secs(200), self.batches.recv()).await {
            told.extend(words(&batch.expect("the source runs")));
        }
        assert_eq!(told, expected);
    }

    /// The questions, without filters, and when they were asked.
    fn asked(&self) -> Vec<(Duration, String)> {
        let asked = self.asked.lock().expect("no test panicked");
        asked
            .iter()
            .map(|(at, question)| {
                let (verb, query) = question.split_once(' ').expect("two words");
                let version = query
                    .split('&')
                    .find_map(|part| part.strip_prefix("resourceVersion="));
                (*at, format!("{verb} {}", version.unwrap_or("newest")))
            })
            .collect()
    }

    fn questions(&self) -> Vec<String> {
        self.asked().into_iter().map(|(_, words)| words).collect()
    }

    fn watch(&self) -> crate::source::observed::Watch {
        self.observed.watches()["Service"].clone()
    }

    async fn end(self) {
        drop(self.batches);
        self.source.await.expect("it ends when nobody listens");
    }
}

#[tokio::test(start_paused = true)]
async fn one_object_that_cannot_be_read_costs_neither_the_list_nor_the_watch() {
    let mut broken = object("b", 2, 3);
    broken["spec"]["ports"] = json!("none");
    let mut healed = object("b", 2, 6);
    healed["spec"]["ports"] = json!([{"port": 81}]);
    let mut api = api([
        List(
            5,
            vec![object("a", 1, 2), broken.clone(), object("c", 3, 4)],
        ),
        Silent(vec![
            event("MODIFIED", broken),
            event("ADDED", object("d", 4, 7)),
        ]),
    ]);
    api.expect(&[
        "+a=10.96.0.1",
        "!Service shop/b: 1",
        "+b=10.96.0.2!",
        "+c=10.96.0.3",
        "synced b",
        "+d=10.96.0.4",
    ])
    .await;
    assert_eq!(api.watch().rejected, 1);
    assert!(api.watch().connected && api.watch().errors.is_empty());
    api.end().await;
}

#[tokio::test(start_paused = true)]
async fn s_8_a_cut_watch_goes_on_from_where_it_broke_off() {
    let mut api = api([
        List(5, vec![object("a", 1, 2)]),
        Watch(vec![event("ADDED", object("b", 2, 7))]),
        Watch(vec![event(
            "BOOKMARK",
            json!({"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}}),
        )]),
        Silent(vec![event("DELETED", object("a", 1, 11))]),
    ]);
    api.expect(&["+a=10.96.0.1", "synced", "+b=10.96.0.2", "-a"])
        .await;
    let expected = ["list 0", "watch 5", "watch 7", "watch 9"];
    assert_eq!(api.questions()[..4], expected);
    assert_eq!((api.watch().relists, api.watch().errors.len()), (0, 0));
    api.end().await;
}

#[tokio::test(start_paused = true)]
async fn s_8_an_expired_version_leads_to_a_new_list_told_as_a_difference() {
    let gone = || Status(410, "too old");
    let said = || {
        Watch(vec![event(
            "ERROR",
            status(410, "The resourceVersion is too old"),
        )])
    };
    for expired in [gone(), said()] {
        let mut api = api([
            List(5, vec![object("a", 1, 2), object("b", 2, 3)]),
            expired,
            List(20, vec![object("a", 1, 2), object("c", 3, 9)]),
            Silent(vec![]),
        ]);
        api.expect(&[
            "+a=10.96.0.1",
            "+b=10.96.0.2",
            "synced",
            "-b",
            "+c=10.96.0.3",
        ])
        .await;
        let expected = ["list 0", "watch 5", "list newest", "watch 20"];
        assert_eq!(api.questions()[..4], expected);
        assert_eq!(api.watch().relists, 1);
        assert_eq!(api.watch().errors["version"], 1);
        assert!(api.watch().connected);
        api.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_gone_for_minutes_changes_nothing_and_is_taken_up_again_without_a_list() {
    let mut script = vec![
        List(5, vec![object("a", 1, 2)]),
        Watch(vec![event("ADDED", object("b", 2, 7))]),
    ];
    script.extend((0..20).map(|_| Refused));
    script.push(Silent(vec![event("DELETED", object("b", 2, 8))]));
    let mut api = api(script);
    let first = ["+a=10.96.0.1", "synced", "+b=10.96.0.2"];
    api.expect(&first).await;
    assert!(!api.watch().connected, "the watch is known to be down");
    let mut told = Vec::new();
    while told.is_empty() {
        told = words(&api.batches.recv().await.expect("the source runs"));
    }
    assert_eq!(told, ["-b"]);
    assert!(api.watch().connected);
    assert_eq!(
        (api.watch().relists, api.watch().errors["connection"]),
        (0, 20)
    );
    let asked = api.asked();
    let waits: Vec<Duration> = asked[2..=22]
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    assert!(waits[0] <= Duration::from_millis(510), "{waits:?}");
    assert!(
        waits[10..]
            .iter()
            .all(|wait| (15..=30).contains(&wait.as_secs())),
        "{waits:?}"
    );
    assert!(asked[2..=22].iter().all(|(_, words)| words == "watch 7"));
    api.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_api_is_left_alone_as_long_as_it_asks_and_errors_of_the_server_are_ridden_out() {
    let mut api = api([
        Status(429, "too many requests"),
        Status(503, "not ready"),
        List(5, vec![object("a", 1, 2)]),
        Status(500, "etcd is slow"),
        Silent(vec![]),
    ]);
    api.expect(&["+a=10.96.0.1", "synced"]).await;
    let asked = api.asked();
    assert_eq!(
        api.questions()[..5],
        ["list 0", "list 0", "list newest", "watch 5", "watch 5"]
    );
    assert_eq!((asked[1].0 - asked[0].0).as_secs(), 7);
    let errors = api.watch().errors;
    assert_eq!((errors["throttled"], errors["server"]), (1, 2));
    api.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_keeps_refusing_a_version_is_asked_for_a_list_that_is_as_new() {
    let mut script = vec![List(5, vec![object("a", 1, 2)])];
    script.extend((0..5).map(|_| Status(500, "no watch cache")));
    script.push(List(8, vec![object("a", 1, 2)]));
    let mut api = api(script);
    api.expect(&["+a=10.96.0.1", "synced"]).await;
    assert_eq!(api.questions()[5..8], ["watch 5", "list 5", "watch 8"]);
    api.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_line_of_a_watch_that_is_no_event_may_have_been_a_change_so_everything_is_listed() {
    let mut api = api([
        List(5, vec![object("a", 1, 2)]),
        Watch(vec![json!({"type": "GREETING", "object": "hello"})]),
        List(8, vec![object("a", 1, 2), object("b", 2, 7)]),
        Silent(vec![]),
    ]);
    api.expect(&["+a=10.96.0.1", "synced", "+b=10.96.0.2"])
        .await;
    assert_eq!(api.questions()[2], "list 5");
    assert_eq!(api.watch().errors["malformed"], 1);
    api.end().await;
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_as_soon_as_they_begin_are_not_opened_in_a_frenzy() {
    let mut script = vec![List(5, vec![])];
    script.extend((0..50).map(|_| Watch(vec![])));
    let mut api = api(script);
    api.expect(&["synced"]).await;
    let soon = Duration::from_secs(60);
    let asked = api.asked();
    let opened = asked.iter().filter(|(at, _)| *at < soon).count();
    assert!(opened < 12, "{opened} in a minute");
    api.end().await;
}

#[tokio::test(start_paused = true)]
async fn s_8_a_list_of_several_pages_counts_when_it_is_complete() {
    let mut api = api([
        Status(500, "nothing from memory"),
        Page("two", vec![object("x", 9, 1)]),
        Status(410, "the token is too old"),
        Page("two", vec![object("a", 1, 2)]),
        List(5, vec![object("b", 2, 3)]),
        Silent(vec![]),
    ]);
    api.expect(&["+a=10.96.0.1", "+b=10.96.0.2", "synced"])
        .await;
    let asked = api.asked.lock().expect("no test panicked").clone();
    let asked: Vec<&str> = asked.iter().map(|(_, words)| &words[..]).collect();
    assert!(asked[3].contains("limit=500") && !asked[3].contains("continue"));
    assert!(asked[4].contains("continue=two") && !asked[4].contains("resourceVersion"));
    api.end().await;
}
