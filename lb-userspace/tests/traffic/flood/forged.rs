//! Forged packets: each from an address of its own that nobody has, with true checksums.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lab::{FrameSender, Pod};
use lb_common::checksum;
use lb_common::packet::TcpFlags;
use lb_common::testing::{Frame, L4};

/// Frames that go with one call.
const AT_ONCE: u32 = 64;

/// Kinds of packets.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A SYN.
    Syn,
    /// A segment of a connection that nobody has.
    Ack,
    /// A datagram.
    Datagram,
}

/// A packet whose source changes. Offsets count from the frame's first octet.
struct Forged {
    frame: Vec<u8>,
    /// The source address's last four octets.
    source_at: usize,
    ip_sum_at: Option<usize>,
    ports_at: usize,
    sum_at: usize,
}

impl Forged {
    fn new(to: SocketAddr, kind: Kind, pod: &Pod) -> Result<Self> {
        let port = to.port();
        let l4 = match kind {
            Kind::Syn => L4::tcp(1, port, TcpFlags::SYN),
            Kind::Ack => L4::tcp(1, port, TcpFlags::ACK),
            Kind::Datagram => L4::udp(1, port, b"forged"),
        };
        let (mut frame, source_at, ip_sum_at, ports_at) = match to.ip() {
            IpAddr::V4(to) => {
                let frame = Frame::<[u8; 4]>::new([11, 0, 0, 0], to.octets(), l4).build();
                (frame, 26, Some(24), 34)
            }
            IpAddr::V6(to) => {
                let mut from = [0; 16];
                from[..2].copy_from_slice(&[0xfd, 0x11]);
                (Frame::new(from, to.octets(), l4).build(), 34, None, 54)
            }
        };
        frame[..6].copy_from_slice(&pod.host_side().mac()?);
        frame[6..12].copy_from_slice(&pod.eth0().mac()?);
        let sum_at = match kind {
            Kind::Syn | Kind::Ack => ports_at + 16,
            Kind::Datagram => ports_at + 6,
        };
        Ok(Self {
            frame,
            source_at,
            ip_sum_at,
            ports_at,
            sum_at,
        })
    }

    /// Sets the source to the one of this number, below 2^24.
    fn set_source(&mut self, number: u32) {
        let old: [u8; 4] = octets(&self.frame, self.source_at);
        let [first, ..] = old;
        let [_, a, b, c] = number.to_be_bytes();
        let address = self.change(self.source_at, [first, a, b, c]);
        if let Some(at) = self.ip_sum_at {
            self.correct(at, address);
        }
        self.correct(self.sum_at, address);
        let [_, _, high, low] = octets::<4>(&self.frame, self.ports_at);
        let [own_high, own_low] = (number as u16 | 1024).to_be_bytes();
        let ports = self.change(self.ports_at, [own_high, own_low, high, low]);
        self.correct(self.sum_at, ports);
    }

    /// Writes four octets, and returns how a sum over them changes.
    fn change(&mut self, at: usize, new: [u8; 4]) -> u32 {
        let old = octets(&self.frame, at);
        self.frame[at..at + 4].copy_from_slice(&new);
        checksum::difference(checksum::words(old), checksum::words(new))
    }

    fn correct(&mut self, at: usize, difference: u32) {
        let sum = checksum::update(octets(&self.frame, at), difference);
        self.frame[at..at + 2].copy_from_slice(&sum);
    }
}

fn octets<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    *frame[at..].first_chunk().expect("the frame is longer")
}

/// A flood out of one pod.
pub struct Flood {
    sender: FrameSender,
    kinds: Vec<Forged>,
}

impl Flood {
    /// Out of a pod, to these in turn.
    pub fn new(pod: &Pod, targets: &[(SocketAddr, Kind)]) -> Result<Self> {
        let kinds = targets
            .iter()
            .map(|(to, kind)| Forged::new(*to, *kind, pod));
        Ok(Self {
            sender: FrameSender::open(&pod.netns, "eth0")?,
            kinds: kinds.collect::<Result<_>>()?,
        })
    }

    /// Sends the packets of these numbers, all below 2^24.
    pub fn send(&mut self, numbers: std::ops::Range<u32>) -> Result<()> {
        assert!(numbers.end <= 1 << 24, "more packets than addresses");
        let mut frames = Vec::new();
        let mut next = numbers.start;
        while next < numbers.end {
            let end = next.saturating_add(AT_ONCE).min(numbers.end);
            frames.clear();
            for number in next..end {
                let kind = number as usize % self.kinds.len();
                let forged = &mut self.kinds[kind];
                forged.set_source(number);
                frames.push(forged.frame.clone());
            }
            self.sender.send(&frames)?;
            next = end;
        }
        Ok(())
    }
}
