//! Datagrams answered with a name.

use std::sync::atomic::Ordering;

use tokio::net::UdpSocket;

use super::{Identity, canonical};

pub(super) async fn serve(socket: UdpSocket, identity: Identity) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        // Errors are about earlier answers (a client that is gone): the next datagram may be fine.
        let Ok((count, peer)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        identity.served.fetch_add(1, Ordering::Relaxed);
        let mut answer = format!("{} {} ", identity.name, canonical(peer)).into_bytes();
        answer.extend_from_slice(&buffer[..count]);
        let _ = socket.send_to(&answer, peer).await;
    }
}
