//! One request: what befalls it, and the API server's answer. Watches go on in `watch`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use kube::Client;
use kube::client::Body;

use super::spells::Sky;
use super::{Asked, Edit, Verb, watch};

/// Why a connection was cut.
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub(super) type Answer = UnsyncBoxBody<Bytes, Error>;

/// Answers a request. An error cuts the connection, as a server that dies would.
pub(super) async fn forward(
    request: Request<Incoming>,
    client: &Client,
    sky: &Arc<Sky>,
) -> Result<Response<Answer>, Error> {
    let asked = Asked::of(request.method(), request.uri());
    sky.note(&asked);
    tokio::time::sleep(sky.delay(&asked)).await;
    if let Some(refusal) = sky.refusal(&asked) {
        return Ok(refusal.response().map(|body| whole(body.into())));
    }

    let response = client.send(upstream(request).await?).await?;
    if !response.status().is_success() {
        return Ok(response.map(unbuffered));
    }
    if asked.verb == Verb::Watch {
        let sky = sky.clone();
        return Ok(response.map(|body| watch::relay(body, asked, sky)));
    }
    let edits = sky.edits(&asked);
    if edits.is_empty() {
        return Ok(response.map(unbuffered));
    }
    edited(response, &edits).await
}

/// The request as the API server gets it: without the proxy's name, and with answers in plain text.
async fn upstream(request: Request<Incoming>) -> Result<Request<Body>, Error> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(HOST);
    parts.headers.remove(ACCEPT_ENCODING);
    let body = body.collect().await?.to_bytes();
    Ok(Request::from_parts(parts, Body::from(body)))
}

async fn edited(response: Response<Body>, edits: &[Edit]) -> Result<Response<Answer>, Error> {
    let (mut parts, body) = response.into_parts();
    let body = body.collect_bytes().await?;
    let body = Edit::answer(edits, &body).map_or(body, Bytes::from);
    parts.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(parts, whole(body)))
}

fn whole(body: Bytes) -> Answer {
    Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn unbuffered(body: Body) -> Answer {
    body.map_err(Error::from).boxed_unsync()
}
