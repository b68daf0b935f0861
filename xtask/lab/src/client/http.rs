//! HTTP requests, one at a time, over blocking sockets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::answer::{http_extent, identity, request};
use super::{ClientError, Response, TIMEOUT};
use crate::interrupted::uninterrupted;
use crate::netns::Netns;

/// One request over a connection of its own, within [`TIMEOUT`].
///
/// # Errors
/// When there is no connection, no answer, or a foreign one.
pub fn http_get(netns: &Netns, to: SocketAddr) -> Result<Response, ClientError> {
    http_get_within(netns, to, TIMEOUT)
}

/// One request over a connection of its own, within `timeout`.
///
/// # Errors
/// As [`http_get`].
pub fn http_get_within(
    netns: &Netns,
    to: SocketAddr,
    timeout: Duration,
) -> Result<Response, ClientError> {
    let start = Instant::now();
    let mut connection = KeptConnection::open_within(netns, to, timeout)?;
    let response = connection.ask(true)?;
    Ok(Response {
        elapsed: start.elapsed(),
        ..response
    })
}

/// The whole answer of any HTTP server to `GET PATH`, head and body, as it came, within [`TIMEOUT`].
///
/// # Errors
/// When there is no connection or no complete answer.
pub fn raw_get(netns: &Netns, to: SocketAddr, path: &str) -> Result<String, ClientError> {
    let mut connection = KeptConnection::open(netns, to)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    let (answer, _) = connection
        .exchange(&request)
        .map_err(|error| connection.failed(error))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// One TCP connection, kept open, on which requests are made whenever the test likes: does it survive?
#[derive(Debug)]
pub struct KeptConnection {
    stream: TcpStream,
    local: SocketAddr,
    to: SocketAddr,
    timeout: Duration,
    pending: Vec<u8>,
}

impl KeptConnection {
    /// Connects from inside `netns`, within [`TIMEOUT`], which also holds for each request.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn open(netns: &Netns, to: SocketAddr) -> Result<KeptConnection, ClientError> {
        Self::open_within(netns, to, TIMEOUT)
    }

    /// Connects within `timeout`, which also holds for each request.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn open_within(
        netns: &Netns,
        to: SocketAddr,
        timeout: Duration,
    ) -> Result<KeptConnection, ClientError> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&to, timeout)?;
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(timeout))?;
            let local = stream.local_addr()?;
            Ok((stream, local))
        };
        let (stream, local) = netns
            .run(connect)
            .map_err(|error| ClientError::connect(to, error))?;
        Ok(KeptConnection {
            stream,
            local,
            to,
            timeout,
            pending: Vec::new(),
        })
    }

    /// Takes a connection to `to` that the caller has made, say from a port of its choice; requests on it are to be answered within
    /// [`TIMEOUT`].
    ///
    /// # Errors
    /// When it is none.
    pub fn over(stream: TcpStream, to: SocketAddr) -> Result<KeptConnection, ClientError> {
        let prepare = || {
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            stream.local_addr()
        };
        let local = prepare().map_err(|error| ClientError::connect(to, error))?;
        Ok(KeptConnection {
            stream,
            local,
            to,
            timeout: TIMEOUT,
            pending: Vec::new(),
        })
    }

    /// Where it leads to.
    pub(super) fn to(&self) -> SocketAddr {
        self.to
    }

    /// Makes one request and reads its answer.
    ///
    /// # Errors
    /// When the connection is broken, or nothing comes in time; the connection is of no use then.
    pub fn request(&mut self) -> Result<Response, ClientError> {
        self.ask(false)
    }

    /// The client's end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The socket itself, for a test that needs more than requests.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    fn ask(&mut self, close: bool) -> Result<Response, ClientError> {
        let start = Instant::now();
        let (answer, body) = self
            .exchange(&request(self.to, close))
            .map_err(|error| self.failed(error))?;
        let found = identity(&answer[body..]);
        let (pod, peer, payload) = found.ok_or_else(|| ClientError::foreign(self.to, &answer))?;
        Ok(Response {
            pod,
            peer,
            payload,
            local: self.local,
            elapsed: start.elapsed(),
        })
    }

    /// Returns one whole answer and where its body begins.
    fn exchange(&mut self, request: &str) -> io::Result<(Vec<u8>, usize)> {
        let end = Instant::now() + self.timeout;
        self.stream.write_all(request.as_bytes())?;
        let mut buffer = [0; 4096];
        let mut at_end = false;
        loop {
            match http_extent(&self.pending) {
                Some((body, Some(length))) => {
                    let rest = self.pending.split_off(length);
                    return Ok((std::mem::replace(&mut self.pending, rest), body));
                }
                Some((body, None)) if at_end => {
                    return Ok((std::mem::take(&mut self.pending), body));
                }
                _ if at_end => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let count = uninterrupted(|| self.stream.read(&mut buffer))?;
            at_end = count == 0;
            self.pending.extend_from_slice(&buffer[..count]);
        }
    }

    fn failed(&self, error: io::Error) -> ClientError {
        ClientError::exchange(self.local, self.to, error)
    }
}
