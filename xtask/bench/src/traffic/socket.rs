//! Blocking sockets with what a measurement needs: cubic on both ends, no delay, and an end to waiting.
//!
//! The machine's default congestion control may pace (BBR does), which caps a stream over a veth and hides every difference.

use std::io;
use std::mem::size_of;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// How long anything may take before it counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to `to`, with cubic. Waits for [`PATIENCE`] at most, for this and for every octet after it.
///
/// # Errors
/// Those of the kernel, and where `to` is no IPv4 address.
pub fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let SocketAddr::V4(to) = to else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    // SAFETY: a plain system call; the result is checked before it becomes an OwnedFd.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `socket` is an open descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    set_cubic(&socket)?;
    let patience = libc::timeval {
        tv_sec: PATIENCE.as_secs() as libc::time_t,
        tv_usec: 0,
    };
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &patience)?;
    let address = address_of(to);
    // SAFETY: `address` lives through the call, and the length is its own.
    let result = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpStream::from(socket))
}

/// Makes a socket, or all that a listening socket accepts, use cubic.
///
/// # Errors
/// When the kernel has none.
pub fn set_cubic(socket: &impl AsRawFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_CONGESTION, b"cubic")
}

/// Keeps the calling thread, and those that it starts later, on one processor.
///
/// # Errors
/// When there is no such processor.
pub fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: all-zero bytes are an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `cpu` is below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` lives through the call, and the length is its own; 0 is the calling thread.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn set<T>(socket: &impl AsRawFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: `value` lives through the call, and the length is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn address_of(to: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(to.ip().octets()),
        },
        sin_zero: [0; 8],
    }
}
