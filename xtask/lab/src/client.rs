//! Clients: single requests, kept connections, long streams and loads, each from inside a namespace. Their servers are
//! [`Server`](crate::Server)'s; against any other HTTP server use [`raw_get`] or a program such as curl.

mod answer;
mod error;
mod http;
mod load;
pub(crate) mod pattern;
mod sctp;
mod stream;
mod tally;
mod udp;

use std::net::SocketAddr;
use std::time::Duration;

pub use error::ClientError;
pub use http::{KeptConnection, http_get, http_get_within, raw_get};
pub use load::{Kind, Load, Options, http_many, many};
pub use sctp::{sctp_exchange_from, sctp_exchange_within};
pub use stream::{StreamReport, stream, stream_over, stream_within};
pub use tally::Report;
pub use udp::{UdpClient, udp_exchange};

/// How long a request may take, connecting included, where no time is given.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// An answer of one of the lab's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The name of the server that answered.
    pub pod: String,
    /// The client's address and port, as that server saw them.
    pub peer: SocketAddr,
    /// What followed: for UDP the payload sent back, for HTTP nothing.
    pub payload: Vec<u8>,
    /// The client's address and port, as the client sees them.
    pub local: SocketAddr,
    /// From before connecting (or sending, on a kept connection) to the whole answer.
    pub elapsed: Duration,
}
