//! The little that is asked of etcd itself, through its JSON gateway.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Netns;
use serde_json::{Value, json};

use super::arguments::ETCD;

pub(super) fn answers(netns: &Netns) -> bool {
    revision(netns).is_ok()
}

/// Compacts up to the newest revision.
pub(super) fn compact(netns: &Netns) -> Result<()> {
    let revision = revision(netns)?;
    let body = json!({ "revision": revision, "physical": true });
    post(netns, "/v3/kv/compaction", &body).map(drop)
}

/// The newest revision, as text: JSON has no 64-bit integers.
fn revision(netns: &Netns) -> Result<String> {
    // The key is base64 of one octet; its value does not matter.
    let answer = post(
        netns,
        "/v3/kv/range",
        &json!({ "key": "AA==", "count_only": true }),
    )?;
    let revision = answer["header"]["revision"].as_str();
    Ok(revision.context("etcd names no revision")?.to_owned())
}

/// HTTP/1.0, so that the answer ends with the connection.
fn post(netns: &Netns, path: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    let mut stream = netns
        .run(|| TcpStream::connect(ETCD))
        .context("etcd does not listen")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("etcd answers in no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.contains(" 200 "),
        "etcd refuses {path}: {status}: {body}"
    );
    serde_json::from_str(body).with_context(|| format!("etcd answers {path} with {body:?}"))
}
