//! The proxy's faults, each seen by a client that reads octets, in front of a server that knows two answers.

mod talk;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::Result;
use cluster::weather::{Edit, Fault, Refusal, Requests, Verb};
use serde_json::json;

use talk::{EVENT, LIST, Talk};

lab::sandbox!();

fn services() -> Requests {
    Requests::of("services")
}

#[test]
fn requests_pass_with_their_headers_and_are_counted() -> Result<()> {
    let talk = Talk::start()?;
    let answer = talk.get(LIST, "Authorization: Bearer secret\r\n")?;
    assert!(
        answer.contains(r#""items":[{"metadata":{"namespace":"shop","name":"a"}"#),
        "{answer}"
    );
    let seen = talk.server.seen();
    assert!(
        seen[0]
            .to_lowercase()
            .contains("authorization: bearer secret"),
        "{seen:?}"
    );
    assert_eq!(talk.weather.count(&services().that(Verb::List)), 1);
    assert_eq!(talk.weather.count(&services().that(Verb::Watch)), 0);
    Ok(())
}

#[test]
fn events_of_a_watch_pass_one_by_one_while_it_is_open() -> Result<()> {
    let talk = Talk::start()?;
    let mut watch = talk.watch()?;
    for _ in 0..3 {
        talk.server.tell(EVENT);
        watch.expect(EVENT)?;
    }
    assert_eq!(talk.weather.open_watches(&services()), 1);
    drop(watch);
    lab::wait_until("the watch to be closed", talk::PATIENCE, || {
        talk.weather.open_watches(&services()) == 0
    })
}

#[test]
fn an_answer_that_is_refused_never_reaches_the_server() -> Result<()> {
    let talk = Talk::start()?;
    for (refusal, expected) in [
        (Refusal::too_many_requests(7), "429 Too Many Requests"),
        (Refusal::internal_error(), "500 Internal Server Error"),
        (Refusal::unavailable(), "503 Service Unavailable"),
        (Refusal::gone(), "410 Gone"),
    ] {
        let spell = talk.weather.times(1, services(), Fault::Refuse(refusal));
        let answer = talk.get(LIST, "")?;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}\r\n")),
            "{answer}"
        );
        assert!(answer.contains(r#""kind":"Status""#), "{answer}");
        assert_eq!(
            answer.contains("retry-after: 7\r\n"),
            expected.starts_with("429")
        );
        assert_eq!(spell.struck(), 1);
        assert!(talk.get(LIST, "")?.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(talk.server.seen().len(), 4);
    Ok(())
}

#[test]
fn an_answer_that_is_delayed_comes_later() -> Result<()> {
    let talk = Talk::start()?;
    let delay = Duration::from_millis(300);
    let _spell = talk.weather.during(services(), Fault::Delay(delay));
    let start = Instant::now();
    assert!(talk.get(LIST, "")?.starts_with("HTTP/1.1 200"));
    assert!(start.elapsed() >= delay);
    Ok(())
}

#[test]
fn a_cut_ends_what_is_open_and_refuses_nothing() -> Result<()> {
    let talk = Talk::start()?;
    let mut watch = talk.watch()?;
    talk.weather.cut();
    watch.expect_broken("")?;
    assert!(talk.get(LIST, "")?.starts_with("HTTP/1.1 200"));
    Ok(())
}

#[test]
fn refused_connections_are_taken_again_when_told() -> Result<()> {
    let talk = Talk::start()?;
    let mut watch = talk.watch()?;
    talk.weather.refuse();
    watch.expect_broken("")?;
    let error = talk.get(LIST, "").expect_err("no connection");
    let error = error
        .downcast_ref::<std::io::Error>()
        .expect("a system call's");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    talk.weather.admit()?;
    assert!(talk.get(LIST, "")?.starts_with("HTTP/1.1 200"));
    Ok(())
}

#[test]
fn a_stalled_watch_is_silent_and_tells_everything_afterwards() -> Result<()> {
    let talk = Talk::start()?;
    let mut watch = talk.watch()?;
    let spell = talk.weather.during(services(), Fault::Stall);
    talk.server.tell(EVENT);
    talk.server.tell(EVENT);
    lab::wait_until("an event to be held back", talk::PATIENCE, || {
        spell.struck() > 0
    })?;
    watch.expect_silence()?;
    drop(spell);
    watch.expect(EVENT)?;
    watch.expect(EVENT)
}

#[test]
fn a_cut_event_ends_in_its_middle() -> Result<()> {
    let talk = Talk::start()?;
    let mut watch = talk.watch()?;
    let _spell = talk.weather.times(1, services(), Fault::CutEvent);
    talk.server.tell(EVENT);
    watch.expect_broken(&EVENT[..EVENT.len() / 2])?;
    let mut watch = talk.watch()?;
    talk.server.tell(EVENT);
    watch.expect(EVENT)
}

#[test]
fn an_injected_event_is_told_on_the_watches_meant() -> Result<()> {
    let talk = Talk::start()?;
    let mut watch = talk.watch()?;
    let gone = Refusal::gone().event();
    assert_eq!(talk.weather.inject(&Requests::of("nodes"), &gone), 0);
    assert_eq!(talk.weather.inject(&services(), &gone), 1);
    watch.expect(r#""code":410"#)?;
    talk.server.tell(EVENT);
    watch.expect(EVENT)
}

#[test]
fn an_edit_changes_lists_and_events() -> Result<()> {
    let talk = Talk::start()?;
    let edit = Edit::of_object("shop", "a", "/spec/ports", json!("eighty"));
    let _spell = talk.weather.during(services(), Fault::Edit(edit));
    let answer = talk.get(LIST, "")?;
    assert!(answer.contains(r#""ports":"eighty""#), "{answer}");
    assert!(answer.contains(r#""ports":[81]"#), "{answer}");
    let mut watch = talk.watch()?;
    talk.server.tell(EVENT);
    watch.expect(r#""ports":"eighty""#)
}

#[test]
fn a_server_that_dies_cuts_the_connection_and_one_that_is_gone_too() -> Result<()> {
    let mut talk = Talk::start()?;
    let mut watch = talk.watch()?;
    talk.server.stop();
    watch.expect_broken("")?;
    assert_eq!(talk.get(LIST, "")?, "", "no answer at all");
    assert!(
        talk.weather
            .asked()
            .iter()
            .any(|asked| asked.verb == Verb::List)
    );
    Ok(())
}
