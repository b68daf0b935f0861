//! Long streams both ways at once: large enough for the kernel to hand 64 KiB segments around.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::pattern::{self, Mismatch};
use super::{ClientError, KeptConnection};
use crate::interrupted::uninterrupted;
use crate::netns::Netns;

/// A stream that came back whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamReport {
    /// Bytes each way.
    pub bytes: u64,
    /// From connecting to the last byte.
    pub elapsed: Duration,
}

/// Sends `bytes` bytes to a [`Server::stream`](crate::Server::stream) and verifies that they come back, within 30 seconds.
///
/// # Errors
/// When there is no connection, the stream stops or a byte is wrong, on either side.
pub fn stream(netns: &Netns, to: SocketAddr, bytes: u64) -> Result<StreamReport, ClientError> {
    stream_within(netns, to, bytes, Duration::from_secs(30))
}

/// As [`stream`], within `timeout`.
///
/// # Errors
/// As [`stream`].
pub fn stream_within(
    netns: &Netns,
    to: SocketAddr,
    bytes: u64,
    timeout: Duration,
) -> Result<StreamReport, ClientError> {
    let start = Instant::now();
    let connection = KeptConnection::open_within(netns, to, timeout)?;
    let report = stream_over(&connection, bytes, start + timeout)?;
    Ok(StreamReport {
        elapsed: start.elapsed(),
        ..report
    })
}

/// As [`stream`], over a connection that is there, until `end`. Nothing else can be done with it afterwards.
///
/// # Errors
/// As [`stream`].
pub fn stream_over(
    connection: &KeptConnection,
    bytes: u64,
    end: Instant,
) -> Result<StreamReport, ClientError> {
    let start = Instant::now();
    let to = connection.to();
    let failed = |error| ClientError::exchange(connection.local(), to, error);
    let socket = connection.socket();
    let received = thread::scope(|scope| {
        let sender = scope.spawn(|| send(socket, bytes));
        let received = receive(socket, bytes, end);
        if !matches!(received, Ok(Ok(()))) {
            // Ends the sender too.
            let _ = socket.shutdown(Shutdown::Both);
        }
        let sent = sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        received.and_then(|verdict| {
            if verdict.is_ok() {
                sent.map(|()| verdict)
            } else {
                Ok(verdict)
            }
        })
    });
    received
        .map_err(failed)?
        .map_err(|source| ClientError::Damaged { to, source })?;
    Ok(StreamReport {
        bytes,
        elapsed: start.elapsed(),
    })
}

fn send(mut socket: &TcpStream, bytes: u64) -> io::Result<()> {
    socket.write_all(&bytes.to_be_bytes())?;
    let mut position = 0;
    while position < bytes {
        let piece = pattern::piece(position, (bytes - position).min(1 << 20) as usize);
        socket.write_all(piece)?;
        position += piece.len() as u64;
    }
    Ok(())
}

fn receive(mut socket: &TcpStream, bytes: u64, end: Instant) -> io::Result<Result<(), Mismatch>> {
    let mut buffer = vec![0; 1 << 18];
    let mut position = 0;
    while position < bytes {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let count = uninterrupted(|| socket.read(&mut buffer))?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(mismatch) = pattern::verify(position, &buffer[..count]) {
            return Ok(Err(mismatch));
        }
        position += count as u64;
    }
    Ok(Ok(()))
}
