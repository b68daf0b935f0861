//! Datagrams and their answers.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;

use super::Shared;
use super::serve::canonical;

/// Answers each datagram, for ever.
pub(super) async fn serve(
    socket: UdpSocket,
    shared: Arc<Shared>,
    answer: fn(&[u8], SocketAddr, &Shared) -> Vec<u8>,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        // Errors are about earlier answers (a client that is gone): the next datagram may be fine.
        let Ok((count, peer)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let bytes = answer(&buffer[..count], canonical(peer), &shared);
        let _ = socket.send_to(&bytes, peer).await;
    }
}

/// What `serve-hostname` answers to everything.
pub(super) fn hostname(_: &[u8], _: SocketAddr, shared: &Shared) -> Vec<u8> {
    shared.hostname.clone().into_bytes()
}

/// What `netexec` answers.
pub(super) fn command(datagram: &[u8], peer: SocketAddr, shared: &Shared) -> Vec<u8> {
    let text = String::from_utf8_lossy(datagram);
    let word = text.trim();
    if let Some(rest) = word.strip_prefix("echo ") {
        return rest.as_bytes().to_vec();
    }
    match word.to_ascii_lowercase().as_str() {
        "hostname" => shared.hostname.clone().into_bytes(),
        "clientip" => peer.to_string().into_bytes(),
        _ => {
            let mut answer = format!("{} {peer} ", shared.hostname).into_bytes();
            answer.extend_from_slice(datagram);
            answer
        }
    }
}
