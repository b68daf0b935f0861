//! The network namespace of the agent, as the kernel numbers it for programs.

use std::{
    io,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    path::Path,
};

use nix::libc;

/// Linux 5.14 (`include/uapi/asm-generic/socket.h`).
const SO_NETNS_COOKIE: libc::c_int = 71;
/// A setting that only the machine's first network namespace has (`net/core/sysctl_net_core.c`).
const OF_THE_FIRST: &str = "/proc/sys/net/core/netdev_max_backlog";

/// The cookie of the calling thread's network namespace; 0 for the machine's first one where the kernel tells no cookies.
///
/// # Errors
/// If the kernel tells none and this is not the first namespace.
pub(super) fn cookie() -> io::Result<u64> {
    match ask() {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            if Path::new(OF_THE_FIRST).exists() {
                Ok(0)
            } else {
                Err(error)
            }
        }
        result => result,
    }
}

fn ask() -> io::Result<u64> {
    // A socket of any family belongs to a network namespace.
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to the number, and the length; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_one_cookie() {
        assert_eq!(cookie().unwrap(), cookie().unwrap());
    }
}
