//! As much HTTP/1.1 as the image's servers are asked for. Request bodies are not read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Shared;

/// A status and a body.
type Answer = (u16, String);

/// Answers requests on one connection until the client ends it.
pub(super) async fn converse(
    mut stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    answer: fn(&Request<'_>, SocketAddr, &Shared) -> Answer,
) -> io::Result<()> {
    let mut pending = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        while let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&pending[..end]).into_owned();
            pending.drain(..end + 4);
            let request = Request::parse(&head);
            let (status, body) = answer(&request, peer, &shared);
            let connection = if request.close { "close" } else { "keep-alive" };
            let text = format!(
                "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
                if status == 200 { "OK" } else { "No" },
                body.len()
            );
            stream.write_all(text.as_bytes()).await?;
            if request.close {
                return stream.shutdown().await;
            }
        }
        let count = stream.read(&mut buffer).await?;
        if count == 0 || pending.len() > 16_384 {
            return Ok(());
        }
        pending.extend_from_slice(&buffer[..count]);
    }
}

/// What `serve-hostname` answers to everything.
pub(super) fn hostname(_: &Request<'_>, _: SocketAddr, shared: &Shared) -> Answer {
    (200, shared.hostname.clone())
}

/// What `netexec` answers.
pub(super) fn netexec(request: &Request<'_>, peer: SocketAddr, shared: &Shared) -> Answer {
    match request.path {
        "/" => (200, format!("{} {peer}\n", shared.hostname)),
        "/hostname" | "/hostName" => (200, shared.hostname.clone()),
        "/clientip" => (200, peer.to_string()),
        "/echo" => {
            let status = request.value("code").and_then(|code| code.parse().ok());
            let message = request.value("msg").unwrap_or_default();
            (status.unwrap_or(200), message)
        }
        "/healthz" => (200, String::new()),
        "/readyz" if shared.is_terminating() => (503, "shutting down".into()),
        "/readyz" => (200, String::new()),
        "/shutdown" => {
            exit(shared, 0, Duration::ZERO);
            (200, String::new())
        }
        "/exit" => {
            let code = request.value("code").and_then(|code| code.parse().ok());
            let wait = request.value("wait").and_then(|wait| seconds(&wait));
            exit(shared, code.unwrap_or(0), wait.unwrap_or_default());
            (200, String::new())
        }
        other => (404, format!("this netexec knows no {other}\n")),
    }
}

/// The head of a request.
pub(super) struct Request<'a> {
    path: &'a str,
    query: &'a str,
    close: bool,
}

impl<'a> Request<'a> {
    fn parse(head: &'a str) -> Request<'a> {
        let target = head.split(' ').nth(1).unwrap_or("/");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let close = head.lines().skip(1).any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("connection")
                    && value.trim().eq_ignore_ascii_case("close")
            })
        });
        // Version 1.0 closes unless asked otherwise, which none of the clients does.
        let old = head
            .lines()
            .next()
            .is_some_and(|line| line.ends_with("HTTP/1.0"));
        Request {
            path,
            query,
            close: close || old,
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        let pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let found = pairs.into_iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| decode(value))
    }
}

/// Ends the server once the answer had time to be sent.
fn exit(shared: &Shared, code: i32, wait: Duration) {
    let exit = shared.exit.clone();
    tokio::spawn(async move {
        tokio::time::sleep(wait.max(Duration::from_millis(10))).await;
        let _ = exit.send(code);
    });
}

/// `5s`, `100ms` or a plain number of seconds.
fn seconds(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    let seconds = text.strip_suffix('s').unwrap_or(text);
    seconds.parse().ok().map(Duration::from_secs)
}

/// `%20` and `+` as spaces, and so on.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3);
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], escaped) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_its_path_and_values() {
        let head = "GET /echo?msg=a%20b+c&code=418 HTTP/1.1\r\nHost: x\r\nConnection: Close";
        let request = Request::parse(head);
        assert_eq!((request.path, request.close), ("/echo", true));
        assert_eq!(request.value("msg").as_deref(), Some("a b c"));
        assert_eq!(request.value("code").as_deref(), Some("418"));
        assert_eq!(request.value("none"), None);
        assert!(!Request::parse("GET / HTTP/1.1\r\nHost: close").close);
    }
}
