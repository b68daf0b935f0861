//! Raw Ethernet frames in and out of one device, for packets that no well-behaved socket would send, and for what must
//! not be on a wire. It neither builds nor parses packets.

use std::io;
use std::mem::{self, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::device::Device;
use crate::netns::Netns;

/// A socket that sees all frames of a device from its opening on, in both directions.
///
/// Where it looks (net/core/dev.c): a frame that comes in is seen before TC ingress and after XDP; one that goes out is
/// seen after TC egress. An outgoing frame may still lack its checksum (see [`Device::set_tx_checksum_offload`]) and may
/// be a segment of up to 64 KiB.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    device: String,
}

/// A frame, beginning with its Ethernet header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Whether it left through the device; otherwise it came in.
    pub outgoing: bool,
}

static RECEIVE_BUFFER: libc::c_int = 32 << 20;

impl PacketSocket {
    /// Opens a socket on the device `name` in `netns`.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn open(netns: &Netns, name: &str) -> Result<PacketSocket> {
        let index = Device::new(netns, name).index()?;
        let socket = netns
            .run(|| open_bound(index))
            .with_context(|| format!("packet socket on {name} in {}", netns.name()))?;
        Ok(PacketSocket {
            socket,
            device: name.to_owned(),
        })
    }

    /// Sends one frame, Ethernet header included, out of the device. For a frame to *arrive* somewhere, send it at the
    /// other end of the link.
    ///
    /// # Errors
    /// When the device is down or the frame is longer than it allows.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: the pointer and length are of one live slice.
        let sent = unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("sending {} bytes out of {}", frame.len(), self.device));
        }
        Ok(())
    }

    /// The first frame for which `wanted` holds, among those not read yet; `None` when none comes within `deadline`.
    ///
    /// # Errors
    /// When frames were lost because they were not read in time, or the device is gone.
    pub fn capture(
        &self,
        deadline: Duration,
        mut wanted: impl FnMut(&Frame) -> bool,
    ) -> Result<Option<Frame>> {
        let end = Instant::now() + deadline;
        loop {
            while let Some(frame) = self.read()? {
                if wanted(&frame) {
                    return Ok(Some(frame));
                }
            }
            self.complete()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.poll(left)?;
        }
    }

    /// All frames for which `wanted` holds, among those seen and not read yet, without waiting: run the traffic first,
    /// then ask what was on the wire.
    ///
    /// # Errors
    /// When frames were lost because they were not read in time: "nothing was there" would be no proof then.
    pub fn drain(&self, mut wanted: impl FnMut(&Frame) -> bool) -> Result<Vec<Frame>> {
        let mut found = Vec::new();
        while let Some(frame) = self.read()? {
            if wanted(&frame) {
                found.push(frame);
            }
        }
        self.complete()?;
        Ok(found)
    }

    fn read(&self) -> Result<Option<Frame>> {
        let mut bytes = vec![0_u8; 1 << 17];
        // SAFETY: all-zero bytes are a valid sockaddr_ll.
        let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer, address and their lengths belong together and live through the call.
        let received = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(error).with_context(|| format!("reading frames of {}", self.device)),
            };
        }
        bytes.truncate(received as usize);
        Ok(Some(Frame {
            bytes,
            outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
        }))
    }

    fn poll(&self, deadline: Duration) -> Result<()> {
        let mut entry = libc::pollfd {
            fd: self.socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let milliseconds = deadline.as_millis().clamp(1, 1000) as libc::c_int;
        // SAFETY: one pollfd, alive through the call.
        if unsafe { libc::poll(&raw mut entry, 1, milliseconds) } < 0 {
            let error = io::Error::last_os_error();
            ensure!(error.kind() == io::ErrorKind::Interrupted, "poll: {error}");
        }
        Ok(())
    }

    /// Whether every frame since the last call could be kept (packet(7), PACKET_STATISTICS).
    fn complete(&self) -> Result<()> {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: value and length belong together and live through the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        ensure!(
            result == 0,
            "PACKET_STATISTICS: {}",
            io::Error::last_os_error()
        );
        ensure!(
            statistics.tp_drops == 0,
            "{} frames of {} were lost unread",
            statistics.tp_drops,
            self.device
        );
        Ok(())
    }
}

fn open_bound(index: u32) -> Result<OwnedFd> {
    let all = (libc::ETH_P_ALL as u16).to_be();
    // Protocol 0 until it is bound: otherwise it would begin with frames of every device.
    // SAFETY: a plain system call; the result is checked before it becomes an OwnedFd.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    ensure!(socket >= 0, io::Error::last_os_error());
    // SAFETY: `socket` is an open descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: the option's value lives through the call.
    let sized = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const RECEIVE_BUFFER).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    ensure!(sized == 0, io::Error::last_os_error());
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = all;
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
