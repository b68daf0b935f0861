//! Long streams: eight bytes of length (big endian), then that many bytes of the pattern, each verified and sent back.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Identity, accept_each};
use crate::client::pattern;

pub(super) async fn serve(listener: TcpListener, identity: Identity) {
    accept_each(listener, |mut stream, _| {
        let identity = identity.clone();
        async move {
            match echo(&mut stream).await {
                Ok(()) => drop(identity.served.fetch_add(1, Ordering::Relaxed)),
                // Dropped with a linger time of zero it is reset, which the client cannot take for an end.
                Err(_) => drop(stream.set_zero_linger()),
            }
        }
    })
    .await;
}

async fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let length = stream.read_u64().await?;
    let mut buffer = vec![0; 1 << 18];
    let mut position = 0;
    while position < length {
        let wanted = (length - position).min(buffer.len() as u64) as usize;
        let count =
            tokio::time::timeout(Duration::from_secs(60), stream.read(&mut buffer[..wanted]))
                .await??;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pattern::verify(position, &buffer[..count]).map_err(io::Error::other)?;
        stream.write_all(&buffer[..count]).await?;
        position += count as u64;
    }
    stream.shutdown().await
}
