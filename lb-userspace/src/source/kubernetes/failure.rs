//! What went wrong with a list or a watch, as far as it matters for what comes next: how it is counted, how long to wait, and
//! whether the version that was known is of any more use.

use std::time::Duration;

use kube::core::Status;

use super::splitter::NoList;
use crate::causes::{refusal, with_causes};

/// A list or watch that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// What it is counted as.
    pub(super) kind: &'static str,
    /// What the API or the connection said.
    pub(super) message: String,
    /// How long the API asks to be left alone.
    pub(super) retry_after: Duration,
}

/// There is no such thing at this API.
const MISSING: &str = "missing";
/// It is not permitted to ask for it.
const FORBIDDEN: &str = "forbidden";
/// What was said is not what an API server says.
const MALFORMED: &str = "malformed";
/// The version that was asked for is no more, or not yet, known to the API.
const VERSION: &str = "version";

impl Failure {
    /// Of a request.
    pub(super) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status),
            kube::Error::SerdeError(_) | kube::Error::LinesCodecMaxLineLengthExceeded => {
                Self::new(MALFORMED, with_causes(error))
            }
            _ => Self::new("connection", with_causes(error)),
        }
    }

    /// What the API answered, or said in the midst of a watch.
    pub(super) fn of_status(status: &Status) -> Self {
        let kind = match status.code {
            // kube takes any line for a status that is no event.
            0 => MALFORMED,
            401 => "unauthorized",
            403 => FORBIDDEN,
            404 => MISSING,
            410 => VERSION,
            429 => "throttled",
            _ if is_version_too_large(status) => VERSION,
            500.. => "server",
            _ => "refused",
        };
        let details = status.details.as_ref();
        let seconds = details.map_or(0, |details| details.retry_after_seconds);
        Self {
            kind,
            message: refusal(status),
            retry_after: Duration::from_secs(seconds.into()),
        }
    }

    /// No answer in time.
    pub(super) fn timeout(what: &str, after: Duration) -> Self {
        Self::new("timeout", format!("{what} within {} s", after.as_secs()))
    }

    /// A watch that the API ended as soon as it had begun.
    pub(super) fn ended() -> Self {
        Self::new("connection", "the watch ended as soon as it had begun")
    }

    /// An answer that has no version to watch from.
    pub(super) fn no_version() -> Self {
        Self::new(MALFORMED, "the list has no resourceVersion")
    }

    /// An answer that is no list, or not all of one.
    pub(super) fn no_list(error: &NoList) -> Self {
        Self::new(MALFORMED, error.to_string())
    }

    /// The API has no objects of the kind at all.
    pub(super) fn is_missing(&self) -> bool {
        self.kind == MISSING
    }

    /// It is not permitted.
    pub(super) fn is_forbidden(&self) -> bool {
        self.kind == FORBIDDEN
    }

    /// Watching from the known version will fail again.
    pub(super) fn spoils_version(&self) -> bool {
        self.kind == VERSION
    }

    /// A change may have been missed.
    pub(super) fn hides_changes(&self) -> bool {
        self.kind == MALFORMED
    }

    /// The API answered, so it is there and not the way to it is what failed.
    pub(super) fn is_answer(&self) -> bool {
        !matches!(self.kind, "connection" | "timeout" | "throttled")
    }

    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: Duration::ZERO,
        }
    }
}

/// The API does not know a version yet that it once told: it was restored from a backup, or is behind.
fn is_version_too_large(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| {
        details
            .causes
            .iter()
            .any(|cause| cause.reason == "ResourceVersionTooLarge")
    })
}
