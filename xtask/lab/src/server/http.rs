//! As much HTTP/1.1 as says a name: request heads in, identities out. Request bodies are not read.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Identity, accept_each};

pub(super) async fn serve(listener: TcpListener, identity: Identity) {
    accept_each(listener, |stream, peer| {
        let identity = identity.clone();
        // A client that breaks off is its own business; it reports the failure.
        async move { drop(converse(stream, peer, &identity).await) }
    })
    .await;
}

async fn converse(mut stream: TcpStream, peer: SocketAddr, identity: &Identity) -> io::Result<()> {
    let mut pending = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        while let Some(end) = head_end(&pending) {
            let close = wants_close(&pending[..end]);
            pending.drain(..end);
            // Counted first: whoever has the answer may look at the count.
            identity.served.fetch_add(1, Ordering::Relaxed);
            stream
                .write_all(answer(&identity.name, peer, close).as_bytes())
                .await?;
            if close {
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

fn answer(name: &str, peer: SocketAddr, close: bool) -> String {
    let body = format!("{name} {peer}\n");
    let connection = if close { "close" } else { "keep-alive" };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
        body.len()
    )
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|start| start + 4)
}

fn wants_close(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    head.lines().any(|line| {
        line.strip_prefix("connection:")
            .is_some_and(|value| value.trim() == "close")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_that_says_so_closes() {
        assert!(wants_close(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n"
        ));
        assert!(!wants_close(
            b"GET /close HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"
        ));
        assert_eq!(head_end(b"GET /\r\n"), None);
    }
}
