//! Notifications, one datagram at a time, with what was lost told.

use std::io;

use nix::libc;
use tokio::io::{Interest, unix::AsyncFd};

use super::{Received, Socket};

/// What was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// A datagram, whose messages were shown.
    Messages,
    /// Some notifications were lost: whoever follows has to list anew.
    Lost,
}

/// A socket with notifications, in a tokio runtime.
#[derive(Debug)]
pub(crate) struct Notifications {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
}

impl Notifications {
    /// Notifications of a socket that never blocks.
    pub(crate) fn of(socket: Socket) -> io::Result<Self> {
        // SAFETY: the socket owns its descriptor, hands out the same one always, and closes it only when it is dropped,
        // which the AsyncFd does after it has taken it out of the reactor.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self {
            socket,
            buffer: Vec::new(),
        })
    }

    /// Waits for the next datagram and shows its messages. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, mut each: impl FnMut(&Received<'_>)) -> io::Result<Told> {
        loop {
            let mut ready = self.socket.readable().await?;
            let buffer = &mut self.buffer;
            let received = ready.try_io(|socket| socket.get_ref().receive(buffer).map(<[u8]>::len));
            match received {
                Err(_would_block) => {}
                Ok(Ok(length)) => {
                    let mut rest = self.buffer.get(..length).unwrap_or_default();
                    while let Some((message, next)) = Received::split_first(rest) {
                        rest = next;
                        each(&message);
                    }
                    return Ok(Told::Messages);
                }
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.drain()?;
                    return Ok(Told::Lost);
                }
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Throws away what waits: after a loss the kernel drops all notifications until its queue is empty
    /// (`netlink_rcv_wake` in `net/netlink/af_netlink.c`).
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        loop {
            match self.socket.get_ref().receive(&mut self.buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
