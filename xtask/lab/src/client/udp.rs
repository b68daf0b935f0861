//! UDP requests, one at a time, over connected sockets: only those hear of an ICMP refusal.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::answer::identity;
use super::{ClientError, Response, TIMEOUT};
use crate::interrupted::uninterrupted;
use crate::netns::Netns;

/// One datagram and its answer, from a port of its own, within [`TIMEOUT`].
///
/// # Errors
/// When it is refused, nothing comes, or something foreign.
pub fn udp_exchange(
    netns: &Netns,
    to: SocketAddr,
    payload: &[u8],
) -> Result<Response, ClientError> {
    UdpClient::open(netns, to)?.request(payload)
}

/// A UDP socket with a fixed port, connected to one address.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
    local: SocketAddr,
    to: SocketAddr,
    timeout: Duration,
}

impl UdpClient {
    /// A socket in `netns` on a free port.
    ///
    /// # Errors
    /// When the namespace has no route to `to`.
    pub fn open(netns: &Netns, to: SocketAddr) -> Result<UdpClient, ClientError> {
        Self::open_from(netns, to, 0)
    }

    /// A socket in `netns` on `port`: the same tuple again, or a tuple that clashes.
    ///
    /// # Errors
    /// When the port is taken or the namespace has no route to `to`.
    pub fn open_from(netns: &Netns, to: SocketAddr, port: u16) -> Result<UdpClient, ClientError> {
        let open = || {
            let socket = UdpSocket::bind(any_of_family(to, port))?;
            socket.connect(to)?;
            let local = socket.local_addr()?;
            Ok((socket, local))
        };
        let (socket, local) = netns
            .run(open)
            .map_err(|error| ClientError::connect(to, error))?;
        Ok(UdpClient {
            socket,
            local,
            to,
            timeout: TIMEOUT,
        })
    }

    /// Waits this long for an answer from now on.
    pub fn with_timeout(mut self, timeout: Duration) -> UdpClient {
        self.timeout = timeout;
        self
    }

    /// Sends one datagram and returns the answer to it; late answers to earlier ones are passed over.
    ///
    /// # Errors
    /// When it is refused, nothing comes, or something foreign.
    pub fn request(&self, payload: &[u8]) -> Result<Response, ClientError> {
        let failed = |error| ClientError::exchange(self.local, self.to, error);
        let start = Instant::now();
        self.socket.send(payload).map_err(failed)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let left = self.timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
            self.socket.set_read_timeout(Some(left)).map_err(failed)?;
            let received = uninterrupted(|| self.socket.recv(&mut buffer));
            let count = received.map_err(failed)?;
            let answer = identity(&buffer[..count]);
            let (pod, peer, echoed) =
                answer.ok_or_else(|| ClientError::foreign(self.to, &buffer[..count]))?;
            if echoed == payload {
                return Ok(Response {
                    pod,
                    peer,
                    payload: echoed,
                    local: self.local,
                    elapsed: start.elapsed(),
                });
            }
        }
    }

    /// The client's end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The socket itself, for a test that needs more than requests.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}

pub(super) fn any_of_family(to: SocketAddr, port: u16) -> SocketAddr {
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    (any, port).into()
}
