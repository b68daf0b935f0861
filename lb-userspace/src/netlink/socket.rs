//! A netlink socket of the calling thread's network namespace: requests and their answers, or notifications.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
        setsockopt, socket, sockopt,
    },
};

use super::{Message, Received};

/// The kernel cuts a dump into parts of at most 32 KiB (`net/netlink/af_netlink.c`); a notification is far shorter.
const BUFFER: usize = 64 * 1024;
/// Bytes of notifications that may wait. A node with a thousand pods that all start at once stays below it.
const WAITING: usize = 4 * 1024 * 1024;

/// RTNLGRP_IPV6_RULE and NFNLGRP_NFTABLES as masks, which the kernel's headers do not have.
const IPV6_RULE: i32 = 1 << (19 - 1);
const NFTABLES: u32 = 1 << (7 - 1);

/// Which notifications a socket gets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Groups {
    /// None: the socket is for requests.
    None,
    /// Changes of devices, and of routes and addresses of both families.
    DevicesRoutesAddresses,
    /// Changes of devices, routes, neighbours, bridges' tables, rules of policy routing, and of filters and queueing disciplines.
    Pods,
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: AtomicU32,
}

impl Socket {
    /// Opens a socket. One with notifications never blocks.
    pub(crate) fn open(groups: Groups) -> io::Result<Self> {
        let (flags, mask) = match groups {
            Groups::None => (SockFlag::SOCK_CLOEXEC, 0),
            Groups::DevicesRoutesAddresses => (
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                libc::RTMGRP_LINK
                    | libc::RTMGRP_IPV4_ROUTE
                    | libc::RTMGRP_IPV6_ROUTE
                    | libc::RTMGRP_IPV4_IFADDR
                    | libc::RTMGRP_IPV6_IFADDR,
            ),
            Groups::Pods => (
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                libc::RTMGRP_LINK
                    | libc::RTMGRP_NEIGH
                    | libc::RTMGRP_TC
                    | libc::RTMGRP_IPV4_ROUTE
                    | libc::RTMGRP_IPV4_RULE
                    | libc::RTMGRP_IPV6_ROUTE
                    | IPV6_RULE,
            ),
        };
        let fd = netlink(flags, SockProtocol::NetlinkRoute)?;
        if mask != 0 {
            // More than rmem_max takes CAP_NET_ADMIN; with less, an overflow comes sooner and is dealt with.
            let _ = setsockopt(&fd, sockopt::RcvBufForce, &WAITING);
        }
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, mask as u32))?;
        Ok(Self {
            fd,
            sequence: AtomicU32::new(1),
        })
    }

    /// Opens a socket for questions about sockets (sock_diag(7)).
    pub(crate) fn open_diagnosis() -> io::Result<Self> {
        let fd = netlink(SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self {
            fd,
            sequence: AtomicU32::new(1),
        })
    }

    /// Opens a socket for questions about IPsec.
    pub(crate) fn open_ipsec() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // nix does not know this protocol.
        // SAFETY: a call that takes numbers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_XFRM) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self {
            fd,
            sequence: AtomicU32::new(1),
        })
    }

    /// Opens a socket for questions about netfilter or, never blocking, for notifications of changes of nftables.
    pub(crate) fn open_netfilter(with_notifications: bool) -> io::Result<Self> {
        let (flags, mask) = if with_notifications {
            (SockFlag::SOCK_NONBLOCK, NFTABLES)
        } else {
            (SockFlag::empty(), 0)
        };
        let fd = netlink(
            flags | SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, mask))?;
        Ok(Self {
            fd,
            sequence: AtomicU32::new(1),
        })
    }

    /// Sends a request that is acknowledged (NLM_F_ACK) or a dump (NLM_F_DUMP) and hands every answer to `each`.
    ///
    /// # Errors
    /// What the kernel answered; `EINTR` where a dump was not of one moment and should be asked for again.
    pub(crate) fn request(
        &self,
        message: Message,
        mut each: impl FnMut(Received<'_>),
    ) -> io::Result<()> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        send(
            self.fd.as_raw_fd(),
            &message.finish(sequence),
            MsgFlags::empty(),
        )?;
        let mut buffer = vec![0; BUFFER];
        let mut interrupted = false;
        loop {
            let mut rest = self.receive(&mut buffer)?;
            while let Some((answer, next)) = Received::split_first(rest) {
                rest = next;
                // An answer to an earlier request that failed half-way is none of ours.
                if answer.sequence != sequence {
                    continue;
                }
                interrupted |= i32::from(answer.flags) & libc::NLM_F_DUMP_INTR != 0;
                match i32::from(answer.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                        let errno = answer.u32(0).map_or(0, |n| n as i32);
                        if errno < 0 {
                            return Err(io::Error::from_raw_os_error(-errno));
                        }
                        return if interrupted {
                            Err(io::Error::from_raw_os_error(libc::EINTR))
                        } else {
                            Ok(())
                        };
                    }
                    _ => each(answer),
                }
            }
        }
    }

    /// A whole dump as the list of what `read` makes of its parts, asked for again while the kernel changes it meanwhile.
    pub(crate) fn dump<T>(
        &self,
        message: impl Fn() -> Message,
        mut read: impl FnMut(Received<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        // An endlessly changing table is read as it is after a few tries: notifications tell the rest.
        const TRIES: usize = 5;
        let mut found = Vec::new();
        for _ in 0..TRIES {
            found.clear();
            match self.request(message(), |part| found.extend(read(part))) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                result => return result.map(|()| found),
            }
        }
        Ok(found)
    }

    /// One datagram: one or more messages.
    ///
    /// # Errors
    /// `WouldBlock` where none waits, `ENOBUFS` where notifications were lost.
    pub(crate) fn receive<'b>(&self, buffer: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
        buffer.resize(BUFFER, 0);
        // With MSG_TRUNC the length is the datagram's own, even where the buffer is shorter.
        let length = loop {
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
                Err(nix::Error::EINTR) => {}
                result => break result?,
            }
        };
        buffer.get(..length).ok_or_else(|| {
            io::Error::other(format!(
                "netlink sent {length} bytes at once, more than {BUFFER}"
            ))
        })
    }
}

fn netlink(flags: SockFlag, protocol: SockProtocol) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
