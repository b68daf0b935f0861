//! Which path is answered with what.

use std::sync::Arc;
use std::time::Instant;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use jiff::Timestamp;

use super::Site;
use super::health::{Health, Question};
use super::metrics::Metrics;
use super::scrape::DataPlane;

/// What `/proxyMode` says, beside kube-proxy's `iptables`, `ipvs` and `nftables`.
const PROXY_MODE: &str = "ebpf";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the pages are made of.
#[derive(Debug)]
pub struct Pages {
    /// For `/healthz` and `/livez`.
    pub health: Arc<Health>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For the part of `/metrics` that is read when it is asked for.
    pub data_plane: Arc<DataPlane>,
}

impl Pages {
    /// Answers a question.
    pub(super) async fn answer(&self, site: Site, uri: &Uri) -> Response<Full<Bytes>> {
        match (site, uri.path()) {
            (Site::Healthz, "/livez") if uri.query() == Some("written") => {
                self.health(Question::Written)
            }
            (Site::Healthz, "/livez") => self.health(Question::Live),
            (Site::Healthz, "/healthz") => self.health(Question::Healthy),
            (Site::Metrics, "/healthz") => page(StatusCode::OK, TEXT, "ok"),
            (Site::Metrics, "/proxyMode") => page(StatusCode::OK, TEXT, PROXY_MODE),
            (Site::Metrics, "/metrics") => self.metrics().await,
            _ => page(StatusCode::NOT_FOUND, TEXT, "404 page not found\n"),
        }
    }

    fn health(&self, question: Question) -> Response<Full<Bytes>> {
        let answer = self
            .health
            .answer(question, Instant::now(), Timestamp::now());
        let status = if answer.ok {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        self.metrics.probed(question, status.as_u16());
        page(status, JSON, answer.body)
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        let (metrics, data_plane) = (self.metrics.clone(), self.data_plane.clone());
        let text = tokio::task::spawn_blocking(move || metrics.text(&data_plane)).await;
        match text {
            Ok(text) => page(StatusCode::OK, METRICS, text),
            Err(_) => page(
                StatusCode::INTERNAL_SERVER_ERROR,
                TEXT,
                "the metrics could not be gathered\n",
            ),
        }
    }
}

fn page(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    response
}
