//! Packets that follow from each other: connections that open, are answered, end and are asked about, datagrams in
//! fragments, errors about any of it, and packets that belong to nothing.
//!
//! Nothing here is changed in a way that no sender would; that is [`super::mutate`]'s part.

use std::collections::VecDeque;
use std::hash::Hash;

use super::address::Numbered;
use super::frame::Frame;
use super::l4::L4;
use super::populated::Populated;
use super::random::Random;
use crate::conntrack::Direction;
use crate::packet::sctp::ChunkType;
use crate::packet::{Parse, TcpFlags};
use crate::pipeline::{Action, Verdict};
use crate::rewrite::{Rewrite, Side};

/// Translated packets that are remembered.
const KNOWN: usize = 64;
/// IANA's number of protocols that are not balanced, which a packet to a Service may be of.
const OTHERS: [u8; 4] = [1, 2, 58, 47];

/// A packet on its way.
#[derive(Clone, Debug)]
pub struct Sent<A> {
    /// Whose program sees it: the client's on the packet's way from the pod, or to it.
    pub direction: Direction,
    /// The packet.
    pub frame: Frame<A>,
}

/// A packet from a client, before and after its translation.
struct Known<A> {
    at_client: Frame<A>,
    at_backend: Frame<A>,
}

/// A source of packets that remembers what became of those before.
pub struct Traffic<A> {
    known: VecDeque<Known<A>>,
    /// What was begun and not yet finished, such as the fragments of a datagram.
    pending: VecDeque<Sent<A>>,
}

impl<A: Parse + Numbered + Hash> Traffic<A> {
    /// Nothing happened yet.
    pub fn new() -> Self {
        Self {
            known: VecDeque::new(),
            pending: VecDeque::new(),
        }
    }

    /// The next packet.
    pub fn next(&mut self, populated: &Populated<A>, random: &mut Random) -> Sent<A> {
        if !self.pending.is_empty() && !random.one_in(4) {
            // Not always in their order.
            let at = random.below(self.pending.len().min(2));
            return self.pending.remove(at).expect("it is there");
        }
        if self.known.is_empty() || random.one_in(3) {
            return self.unrelated(populated, random);
        }
        self.following(random)
    }

    /// Remembers a packet that was translated, so that others may follow from it. `verdict` is that on the frame, unchanged.
    pub fn learn(&mut self, sent: &Sent<A>, verdict: &Verdict<A>) {
        let to_backend = verdict.action == Action::Rewrite
            && verdict.rewrite.side == Side::Destination
            && sent.frame.l4.ports().is_some();
        if !to_backend {
            return;
        }
        let Rewrite { to, other_port, .. } = verdict.rewrite;
        let source = sent.frame.ip.source;
        let at_backend = sent.frame.with_destination(to.address, to.port.get());
        if self.known.len() == KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(Known {
            at_client: sent.frame.clone(),
            at_backend: at_backend.with_source(source, other_port.get()),
        });
    }

    /// A packet that need not belong to any other.
    fn unrelated(&mut self, populated: &Populated<A>, random: &mut Random) -> Sent<A> {
        let Populated {
            clients,
            backends,
            destinations,
            ..
        } = populated;
        match random.below(16) {
            0 => from_backend(random.frame(backends, clients)),
            1 => {
                let (address, _) = random.pick(destinations);
                let (client, _) = random.pick(clients);
                let len = random.below(64);
                let l4 = L4::Other {
                    protocol: random.pick(&OTHERS),
                    payload: random.octets(len),
                };
                from_client(Frame::new(client, address, l4))
            }
            2 => {
                let about = random.frame(clients, backends);
                from_backend(error(&about, random))
            }
            3 => {
                let about = random.frame(destinations, clients);
                from_client(error(&about, random))
            }
            4 => from_backend(random.frame(destinations, clients)),
            _ => from_client(random.frame(clients, destinations)),
        }
    }

    /// A packet that follows from one that was translated.
    fn following(&mut self, random: &mut Random) -> Sent<A> {
        let which = random.below(self.known.len());
        let Known {
            at_client,
            at_backend,
        } = &self.known[which];
        match random.below(16) {
            0..3 => from_client(with_flags(at_client, random)),
            3..8 => from_backend(with_flags(&at_backend.reversed(), random)),
            // The next packet of the same client to the same frontend, on another port.
            8 => {
                let mut next = at_client.clone();
                if let Some((source, destination)) = next.l4.ports() {
                    next.l4
                        .set_ports(source ^ random.below(4) as u16, destination);
                }
                from_client(next)
            }
            9..11 => from_backend(error(at_backend, random)),
            11..13 => from_client(error(&at_client.reversed(), random)),
            // Where a pod speaks to itself, the device that it left by is the one that it arrives by.
            13 => from_backend(with_flags(at_backend, random)),
            _ => {
                let from_pod = random.one_in(2);
                let whole = if from_pod {
                    at_client.clone()
                } else {
                    at_backend.reversed()
                };
                let most = 8 * (3 + random.below(8));
                let fragments = enlarged(&whole, random).fragments(random.number() as u32, most);
                let sent =
                    fragments
                        .into_iter()
                        .map(if from_pod { from_client } else { from_backend });
                self.pending.extend(sent);
                self.pending.pop_front().expect("it has a fragment")
            }
        }
    }
}

impl<A: Parse + Numbered + Hash> Default for Traffic<A> {
    fn default() -> Self {
        Self::new()
    }
}

fn from_client<A>(frame: Frame<A>) -> Sent<A> {
    Sent {
        direction: Direction::FromClient,
        frame,
    }
}

fn from_backend<A>(frame: Frame<A>) -> Sent<A> {
    Sent {
        direction: Direction::FromBackend,
        frame,
    }
}

fn with_flags<A: Parse>(frame: &Frame<A>, random: &mut Random) -> Frame<A> {
    const ACK: u8 = TcpFlags::ACK;
    let mut frame = frame.clone();
    frame.ip.part = None;
    match &mut frame.l4 {
        L4::Tcp { flags, .. } => {
            *flags = random.pick(&[
                ACK,
                ACK,
                TcpFlags::SYN,
                TcpFlags::SYN | ACK,
                TcpFlags::FIN | ACK,
                TcpFlags::RST,
            ]);
        }
        L4::Sctp { chunk, .. } => {
            *chunk = random.pick(&[
                ChunkType::DATA,
                ChunkType::COOKIE_ACK,
                ChunkType::INIT,
                ChunkType::INIT_ACK,
                ChunkType::SHUTDOWN,
                ChunkType::SHUTDOWN_COMPLETE,
            ]);
        }
        L4::Udp { .. } | L4::Other { .. } => {}
    }
    frame
}

/// The same datagram with so much data that it has several fragments.
fn enlarged<A: Parse>(frame: &Frame<A>, random: &mut Random) -> Frame<A> {
    let mut frame = frame.clone();
    frame.ip.part = None;
    let len = 100 + random.below(200);
    if let L4::Tcp { payload, .. } | L4::Udp { payload, .. } | L4::Sctp { value: payload, .. } =
        &mut frame.l4
    {
        *payload = random.octets(len);
    }
    frame
}

/// An ICMP error about a frame, or another message of ICMP that looks like one: from its destination or a router.
fn error<A: Parse + Numbered>(about: &Frame<A>, random: &mut Random) -> Frame<A> {
    let router = A::pod(200);
    let kind = random.pick(&[1, 2, 3, 3, 4, 11, 12, 8]);
    let by = random.pick(&[about.ip.destination, about.ip.destination, router]);
    let len = random.pick(&[20, 27, 28, 28, 48, 60, 68, 200]);
    about.icmp_error(by, [kind, 0], len)
}
