//! Whether the data plane follows the cluster, and whether the node should be sent traffic: the words of S-61. Keeps when
//! changes were queued and written; the HTTP around it is not its business.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};
use serde::{Serialize, Serializer};

use crate::source::Observed;
use crate::source::observed::NodeState;

/// How long a change may wait to be written: twice kube-proxy's sync period.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of the health of the data plane.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
    observed: Arc<Observed>,
}

#[derive(Clone, Copy, Default, Debug)]
struct State {
    /// When the oldest change was queued that is not written yet.
    queued: Option<Instant>,
    /// When everything was last written.
    updated: Option<Timestamp>,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// `/livez`: whether to restart the agent.
    Live,
    /// `/livez?written`: whether the agent has also begun its work, so that the one of the next node may be replaced.
    Written,
    /// `/healthz`: whether to send the node traffic.
    Healthy,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Whether the status is 200, else it is 503.
    pub ok: bool,
    /// The JSON.
    pub body: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(serialize_with = "as_go")]
    last_updated: Option<Timestamp>,
    #[serde(serialize_with = "as_go")]
    current_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    status: Families,
}

#[derive(Serialize)]
struct Families {
    #[serde(rename = "IPv4")]
    v4: FamilyBody,
    #[serde(rename = "IPv6")]
    v6: FamilyBody,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyBody {
    #[serde(serialize_with = "as_go")]
    last_updated: Option<Timestamp>,
    healthy: bool,
}

impl Health {
    /// Of a data plane that starts, which counts as healthy.
    pub fn new(observed: Arc<Observed>) -> Self {
        Self {
            state: Mutex::default(),
            observed,
        }
    }

    /// A change has come that is not written yet.
    pub fn queued(&self, now: Instant) {
        self.lock().queued.get_or_insert(now);
    }

    /// Everything that has come is written.
    pub fn updated(&self, at: Timestamp) {
        *self.lock() = State {
            queued: None,
            updated: Some(at),
        };
    }

    /// Answers. One pass writes both families, so they are always equally well.
    pub fn answer(&self, question: Question, now: Instant, at: Timestamp) -> Answer {
        let State { queued, updated } = *self.lock();
        let healthy = queued.is_none_or(|queued| now.saturating_duration_since(queued) < PATIENCE);
        let eligible = self.observed.node() == NodeState::Eligible;
        let ok = healthy
            && match question {
                Question::Live => true,
                Question::Written => updated.is_some(),
                Question::Healthy => eligible,
            };
        let family = FamilyBody {
            last_updated: updated,
            healthy,
        };
        let body = Body {
            // That nothing has changed for long is not to look like a failure.
            last_updated: if ok { Some(at) } else { updated },
            current_time: Some(at),
            node_eligible: (question == Question::Healthy).then_some(eligible),
            healthy,
            status: Families {
                v4: family,
                v6: family,
            },
        };
        Answer {
            ok,
            body: serde_json::to_string(&body).unwrap_or_default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As Go writes a time, never as the year 1.
fn as_go<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        None => serializer.serialize_str("0001-01-01T00:00:00Z"),
        Some(time) => {
            let micros = time.round(Unit::Microsecond).unwrap_or(*time);
            serializer.collect_str(&micros)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "2026-01-01T00:00:00Z";

    fn at(second: u64) -> Timestamp {
        START.parse::<Timestamp>().expect("a time") + Duration::from_secs(second)
    }

    #[track_caller]
    fn check(
        health: &Health,
        start: Instant,
        second: u64,
        question: Question,
        expected: (bool, &str),
    ) {
        let now = start + Duration::from_secs(second);
        let answer = health.answer(question, now, at(second));
        assert_eq!((answer.ok, &answer.body[..]), expected, "after {second} s");
    }

    #[test]
    fn s_61_a_data_plane_that_starts_or_has_written_everything_is_healthy() {
        let health = Health::new(Arc::default());
        let start = Instant::now();
        let live = r#"{"lastUpdated":"2026-01-01T00:00:05Z","currentTime":"2026-01-01T00:00:05Z","healthy":true,"status":{"IPv4":{"lastUpdated":"0001-01-01T00:00:00Z","healthy":true},"IPv6":{"lastUpdated":"0001-01-01T00:00:00Z","healthy":true}}}"#;
        check(&health, start, 5, Question::Live, (true, live));
        health.queued(start + Duration::from_secs(6));
        health.updated(at(7));
        let healthy = r#"{"lastUpdated":"2026-01-01T01:00:00Z","currentTime":"2026-01-01T01:00:00Z","nodeEligible":true,"healthy":true,"status":{"IPv4":{"lastUpdated":"2026-01-01T00:00:07Z","healthy":true},"IPv6":{"lastUpdated":"2026-01-01T00:00:07Z","healthy":true}}}"#;
        check(&health, start, 3_600, Question::Healthy, (true, healthy));
    }

    #[test]
    fn s_61_a_change_that_waits_for_a_minute_is_unhealthy_until_it_is_written() {
        let health = Health::new(Arc::default());
        let start = Instant::now();
        let ok = |second| {
            let now = start + Duration::from_secs(second);
            [Question::Live, Question::Healthy]
                .map(|asked| health.answer(asked, now, at(second)).ok)
        };
        health.updated(at(1));
        health.queued(start + Duration::from_secs(10));
        health.queued(start + Duration::from_secs(60));
        assert_eq!(ok(69), [true, true]);
        assert_eq!(ok(70), [false, false]);
        let unhealthy = r#"{"lastUpdated":"2026-01-01T00:00:01Z","currentTime":"2026-01-01T00:01:10Z","healthy":false,"status":{"IPv4":{"lastUpdated":"2026-01-01T00:00:01Z","healthy":false},"IPv6":{"lastUpdated":"2026-01-01T00:00:01Z","healthy":false}}}"#;
        check(&health, start, 70, Question::Live, (false, unhealthy));
        health.updated(at(71));
        assert_eq!(ok(72), [true, true]);
        assert_eq!(ok(7_200), [true, true]);
    }

    #[test]
    fn an_agent_is_ready_once_it_has_written_everything_whatever_becomes_of_its_node() {
        let observed = Arc::new(Observed::default());
        let health = Health::new(observed.clone());
        let start = Instant::now();
        let ready = |second| {
            let now = start + Duration::from_secs(second);
            let answer = health.answer(Question::Written, now, at(second));
            assert!(!answer.body.contains("nodeEligible"), "{answer:?}");
            answer.ok
        };
        assert!(!ready(1), "it has heard of nothing");
        health.queued(start + Duration::from_secs(2));
        assert!(!ready(3), "it has written nothing");
        health.updated(at(4));
        for node in [
            NodeState::Eligible,
            NodeState::Absent,
            NodeState::Deleted,
            NodeState::Tainted,
        ] {
            observed.set_node(node);
            assert!(ready(5), "{node:?}");
        }
        health.queued(start + Duration::from_secs(10));
        assert!(ready(69));
        assert!(!ready(70), "a change waits for a minute");
    }

    #[test]
    fn s_61_the_node_decides_the_status_of_healthz_alone_and_never_the_word_healthy() {
        for (node, ok) in [
            (NodeState::Eligible, true),
            (NodeState::Absent, false),
            (NodeState::Deleted, false),
            (NodeState::Tainted, false),
        ] {
            let observed = Arc::new(Observed::default());
            observed.set_node(node);
            let health = Health::new(observed);
            let now = Instant::now();
            let live = health.answer(Question::Live, now, at(1));
            assert!(live.ok && !live.body.contains("nodeEligible"), "{live:?}");
            let healthy = health.answer(Question::Healthy, now, at(1));
            assert_eq!(healthy.ok, ok, "{node:?}");
            let words = format!(r#""nodeEligible":{ok},"healthy":true"#);
            assert!(healthy.body.contains(&words), "{}", healthy.body);
        }
    }
}
