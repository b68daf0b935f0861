//! Answers that the API server would have given, had it been unwell.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// An answer that refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    code: u16,
    reason: &'static str,
    retry_after: Option<u32>,
}

impl Refusal {
    /// 429: the server asks for a pause of so many seconds.
    pub fn too_many_requests(retry_after: u32) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(429, "TooManyRequests")
        }
    }

    /// 410: what was asked for is not remembered any more.
    pub fn gone() -> Self {
        Self::new(410, "Expired")
    }

    /// 500.
    pub fn internal_error() -> Self {
        Self::new(500, "InternalError")
    }

    /// 503.
    pub fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailable")
    }

    /// 403: the client may not do this.
    pub fn forbidden() -> Self {
        Self::new(403, "Forbidden")
    }

    /// The event that tells it on a watch which was begun well.
    pub fn event(&self) -> Value {
        json!({"type": "ERROR", "object": self.status()})
    }

    pub(super) fn response(&self) -> Response<Vec<u8>> {
        let mut response = Response::new(self.status().to_string().into_bytes());
        *response.status_mut() =
            StatusCode::from_u16(self.code).expect("the codes above are codes of HTTP");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, "application/json".parse().expect("a value"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    fn new(code: u16, reason: &'static str) -> Self {
        Self {
            code,
            reason,
            retry_after: None,
        }
    }

    fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("bad weather: {}", self.reason), "reason": self.reason, "code": self.code,
        });
        if let Some(seconds) = self.retry_after {
            status["details"] = json!({"retryAfterSeconds": seconds});
        }
        status
    }
}
