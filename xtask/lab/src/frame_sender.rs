//! Raw Ethernet frames into one device, many with each call: for floods. It neither builds nor reads packets.

use std::io;
use std::mem::{self, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};

use crate::device::Device;
use crate::netns::Netns;

/// A socket that only sends, past the device's queueing discipline (packet(7), PACKET_QDISC_BYPASS). A
/// [`PacketSocket`](crate::PacketSocket) would be given a copy of all that it sends.
#[derive(Debug)]
pub struct FrameSender {
    socket: OwnedFd,
    device: String,
}

impl FrameSender {
    /// Opens a socket on the device `name` in `netns`.
    ///
    /// # Errors
    /// When there is no such device, and without root.
    pub fn open(netns: &Netns, name: &str) -> Result<FrameSender> {
        let index = Device::new(netns, name).index()?;
        let socket = netns
            .run(|| open_bound(index))
            .with_context(|| format!("packet socket on {name} in {}", netns.name()))?;
        Ok(FrameSender {
            socket,
            device: name.to_owned(),
        })
    }

    /// Sends frames out of the device, Ethernet headers included, in their order. Whether each of them arrives is the device's
    /// matter: what it has no room for is lost, as on a wire.
    ///
    /// # Errors
    /// When the device is down or a frame is longer than it allows.
    pub fn send(&self, frames: &[Vec<u8>]) -> Result<()> {
        let mut pieces: Vec<libc::iovec> = frames
            .iter()
            .map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = pieces
            .iter_mut()
            .map(|piece| {
                // SAFETY: all-zero bytes are a valid mmsghdr.
                let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
                message.msg_hdr.msg_iov = piece;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            // SAFETY: each message points to one piece, each piece to one live frame that the kernel only reads.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    0,
                )
            };
            if sent < 0 {
                let error = io::Error::last_os_error();
                // The device had no room for one frame.
                if error.raw_os_error() == Some(libc::ENOBUFS) {
                    rest = &mut rest[1..];
                    continue;
                }
                return Err(error).with_context(|| format!("sending out of {}", self.device));
            }
            rest = &mut rest[sent as usize..];
        }
        Ok(())
    }
}

fn open_bound(index: u32) -> Result<OwnedFd> {
    // Protocol 0: it receives nothing.
    // SAFETY: a plain system call; the result is checked before it becomes an OwnedFd.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    ensure!(socket >= 0, io::Error::last_os_error());
    // SAFETY: `socket` is an open descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let on: libc::c_int = 1;
    // SAFETY: the option's value lives through the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    ensure!(set == 0, io::Error::last_os_error());
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    // SAFETY: the address lives through the call and has the length given.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    ensure!(bound == 0, io::Error::last_os_error());
    Ok(socket)
}
