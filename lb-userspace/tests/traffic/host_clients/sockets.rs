//! Sockets that need more than the lab's clients do.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Cgroup, Netns, uninterrupted};

const TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";

/// A UDP socket of the node that is connected to nobody, of the family of `to`.
pub fn unconnected(netns: &Netns, cgroup: &Cgroup, to: SocketAddr) -> Result<UdpSocket> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = cgroup.run(|| netns.run(|| UdpSocket::bind(any)))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// A connection whose request is sent by the call that opens it.
pub fn fast_open(netns: &Netns, cgroup: &Cgroup, to: SocketAddr) -> Result<TcpStream> {
    let socket = cgroup.run(|| netns.run(|| stream_socket(to)))?;
    let (address, length) = raw(to);
    // SAFETY: both pointers are to initialised memory of the length given, which outlives the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            REQUEST.as_ptr().cast(),
            REQUEST.len(),
            libc::MSG_FASTOPEN,
            (&raw const address).cast(),
            length,
        )
    };
    ensure!(sent > 0, "{to}: {}", io::Error::last_os_error());
    Ok(socket.into())
}

/// Reads the answer to the request of [`fast_open`].
pub fn check_answer(mut socket: &TcpStream, pod: &str) -> Result<()> {
    socket.set_read_timeout(Some(TIMEOUT))?;
    let mut answer = vec![0; 4096];
    let count = uninterrupted(|| socket.read(&mut answer)).context("an answer")?;
    let answer = String::from_utf8_lossy(&answer[..count]);
    ensure!(answer.contains(pod), "{pod} did not answer: {answer}");
    Ok(())
}

/// One socket that connects to the VIP, lets go, connects to the backend itself, lets go, and connects to the VIP again.
pub fn check_one_socket_after_another(
    netns: &Netns,
    cgroup: &Cgroup,
    vip: SocketAddr,
    backend: SocketAddr,
) -> Result<()> {
    let socket = TcpStream::from(cgroup.run(|| netns.run(|| stream_socket(vip)))?);
    for to in [vip, backend, vip] {
        connect(&socket, to)?;
        assert_eq!(socket.peer_addr()?, to);
        (&socket).write_all(REQUEST)?;
        let nobody = libc::sockaddr {
            sa_family: libc::AF_UNSPEC as libc::sa_family_t,
            sa_data: [0; 14],
        };
        // SAFETY: the address is initialised, of the length given, and outlives the call.
        let result = unsafe {
            libc::connect(
                socket.as_raw_fd(),
                &raw const nobody,
                size_of::<libc::sockaddr>() as libc::socklen_t,
            )
        };
        ensure!(
            result == 0,
            "let go of {to}: {}",
            io::Error::last_os_error()
        );
        let kind = socket.peer_addr().map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::NotConnected));
    }
    Ok(())
}

fn connect(socket: &TcpStream, to: SocketAddr) -> Result<()> {
    let (address, length) = raw(to);
    // SAFETY: the address is initialised, of the length given, and outlives the call.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    ensure!(result == 0, "{to}: {}", io::Error::last_os_error());
    Ok(())
}

fn stream_socket(to: SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: a plain system call without pointers.
    let socket = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn raw(to: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let length = match to {
        SocketAddr::V4(to) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(to.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough for any address, and aligned for it.
            unsafe {
                storage
                    .as_mut_ptr()
                    .cast::<libc::sockaddr_in>()
                    .write(address)
            };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(to) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: to.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: to.ip().octets(),
                },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe {
                storage
                    .as_mut_ptr()
                    .cast::<libc::sockaddr_in6>()
                    .write(address)
            };
            size_of::<libc::sockaddr_in6>()
        }
    };
    // SAFETY: it was zeroed, and zeros are an address.
    (unsafe { storage.assume_init() }, length as libc::socklen_t)
}
