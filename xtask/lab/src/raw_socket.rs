//! Packets of one IP protocol in and out of a namespace, for protocols that the kernel need not know. It neither builds nor
//! parses what is above IP.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::FromRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::interrupted::uninterrupted;
use crate::netns::Netns;

/// A raw socket of one family and protocol. It is given every packet of the protocol that arrives in its namespace.
#[derive(Debug)]
pub struct RawSocket(UdpSocket);

impl RawSocket {
    /// Opens a socket for `protocol`, by IANA's number.
    ///
    /// # Errors
    /// Without root.
    pub fn open(netns: &Netns, is_v4: bool, protocol: i32) -> Result<RawSocket> {
        let opened = netns.run(|| RawSocket::here(is_v4, protocol));
        opened.with_context(|| format!("raw socket in {}", netns.name()))
    }

    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn here(is_v4: bool, protocol: i32) -> io::Result<RawSocket> {
        let family = if is_v4 { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: a call that takes numbers.
        let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it. Of a datagram socket the type is used for nothing but the
        // calls that a raw socket has as well.
        Ok(RawSocket(unsafe { UdpSocket::from_raw_fd(fd) }))
    }

    /// Sends one packet, whose IP header the kernel makes.
    ///
    /// # Errors
    /// When the namespace has no route to `to`.
    pub fn send(&self, to: IpAddr, payload: &[u8]) -> io::Result<()> {
        self.0.send_to(payload, SocketAddr::new(to, 0)).map(drop)
    }

    /// What `take` makes of the first packet that it takes, told its source and what follows the IP header.
    ///
    /// # Errors
    /// `TimedOut` when it takes none before `deadline`.
    pub fn receive<T>(
        &self,
        deadline: Instant,
        mut take: impl FnMut(IpAddr, &[u8]) -> Option<T>,
    ) -> io::Result<T> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left < Duration::from_micros(1) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.0.set_read_timeout(Some(left))?;
            let (count, from) = match uninterrupted(|| self.0.recv_from(&mut buffer)) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            if let Some(taken) = take(from.ip(), payload(from, &buffer[..count])) {
                return Ok(taken);
            }
        }
    }

    /// The socket for a server's runtime, which the calling thread must be in.
    pub(crate) fn into_tokio(self) -> io::Result<tokio::net::UdpSocket> {
        self.0.set_nonblocking(true)?;
        tokio::net::UdpSocket::from_std(self.0)
    }
}

/// What follows the IP header. A socket for IPv4 gives it, one for IPv6 leaves it out (raw(7), RFC 3542 section 3).
pub(crate) fn payload(from: SocketAddr, packet: &[u8]) -> &[u8] {
    let header = match (from.is_ipv4(), packet.first()) {
        (true, Some(first)) => usize::from(first & 0xf) * 4,
        _ => 0,
    };
    packet.get(header..).unwrap_or_default()
}
