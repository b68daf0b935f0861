//! What can go wrong between a client and a server.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

/// Why a request failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection (or for UDP no socket) could be made.
    #[error("cannot connect to {to}: {source}")]
    Connect {
        /// Where to.
        to: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The connection was there, but no complete answer came. For UDP a refusal shows here.
    #[error("{local} connected to {to}, and got no answer: {source}")]
    Exchange {
        /// The client's end.
        local: SocketAddr,
        /// Where to.
        to: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// An answer came that none of the lab's servers gives.
    #[error("{to} answered something else: {answer:?}")]
    Foreign {
        /// Where to.
        to: SocketAddr,
        /// The beginning of the answer.
        answer: String,
    },
    /// A long stream came back changed.
    #[error("the stream to {to} is damaged: {source}")]
    Damaged {
        /// Where to.
        to: SocketAddr,
        /// Where the damage is.
        source: super::pattern::Mismatch,
    },
}

impl ClientError {
    /// The kind of the underlying error: `ConnectionRefused`, `TimedOut`, `ConnectionReset`, …
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            ClientError::Connect { source, .. } | ClientError::Exchange { source, .. } => {
                Some(source.kind())
            }
            ClientError::Foreign { .. } | ClientError::Damaged { .. } => None,
        }
    }

    /// Whether the other side said no at once: a reset in answer to a SYN, or an ICMP error.
    pub fn is_refused(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::ConnectionRefused)
    }

    /// Whether nothing came in time.
    pub fn is_timeout(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::TimedOut)
    }

    pub(super) fn connect(to: SocketAddr, source: io::Error) -> ClientError {
        ClientError::Connect {
            to,
            source: timed_out(source),
        }
    }

    pub(super) fn exchange(local: SocketAddr, to: SocketAddr, source: io::Error) -> ClientError {
        ClientError::Exchange {
            local,
            to,
            source: timed_out(source),
        }
    }

    pub(super) fn foreign(to: SocketAddr, answer: &[u8]) -> ClientError {
        let answer = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        ClientError::Foreign { to, answer }
    }
}

/// A blocking socket with a time limit reports its end as "would block".
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
