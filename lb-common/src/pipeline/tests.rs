//! The decisions over maps in memory. Each packet is held against the frame that is built from scratch for its verdict.

mod affinity;
mod associations;
mod clash;
mod deliver;
mod echo;
mod failover;
mod flood;
mod flows;
mod fragments;
mod glance;
mod hairpin;
mod halves;
mod operations;
mod related;
mod source_port;
mod spread;
mod translation;
mod unallocated;
mod verdicts;

use super::*;
use crate::addr::Protocol;
use crate::frontend::SlotRange;
use crate::testing::strategies::Family;
use crate::testing::{Frame, Ip, L4, MemoryDataplane};

const SERVICE: u32 = 7;
const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const FIN_ACK: u8 = TcpFlags::FIN | TcpFlags::ACK;
const RST: u8 = TcpFlags::RST;

/// A data plane that serves VIP 10, port 80, from pods 1, 2, … on port 8080; and the ids of these backends.
fn serving<A: Family>(protocol: Protocol, pods: u8) -> (MemoryDataplane<A>, Vec<u32>) {
    let mut dp = MemoryDataplane::new();
    let ids = dp.serve(SERVICE, A::vip(10), 80, protocol, &endpoints(pods));
    (dp, ids)
}

fn endpoints<A: Family>(pods: u8) -> Vec<(A, u16)> {
    (1..=pods).map(|n| (A::pod(n), 8080)).collect()
}

fn protocol_of<A: Family>(frame: &Frame<A>) -> Protocol {
    Protocol::from_number(frame.l4.protocol()).expect("a protocol that is balanced")
}

/// A segment from pod 100 to VIP 10, port 80.
fn segment<A: Family>(port: u16, flags: u8) -> Frame<A> {
    Frame::new(A::pod(100), A::vip(10), L4::tcp(port, 80, flags))
}

/// A datagram from pod 100 to VIP 10, port 80.
fn datagram<A: Family>(port: u16) -> Frame<A> {
    Frame::new(A::pod(100), A::vip(10), L4::udp(port, 80, b"question"))
}

/// An SCTP packet from pod 100 to VIP 10, port 80.
fn chunk<A: Family>(port: u16, chunk: u8) -> Frame<A> {
    Frame::new(A::pod(100), A::vip(10), L4::sctp(port, 80, chunk))
}

/// What a frame becomes by a verdict, built from scratch.
fn after<A: Family>(frame: &Frame<A>, verdict: &Verdict<A>) -> Frame<A> {
    let Rewrite { to, other_port, .. } = verdict.rewrite;
    let (port, other) = (to.port.get(), other_port.get());
    let Ip {
        source,
        destination,
        ..
    } = frame.ip;
    match (verdict.action, verdict.rewrite.side) {
        (Action::Rewrite, Side::Source) => frame
            .with_source(to.address, port)
            .with_destination(destination, other),
        (Action::Rewrite, Side::Destination) => frame
            .with_destination(to.address, port)
            .with_source(source, other),
        (
            Action::Pass
            | Action::Relate
            | Action::Echo
            | Action::Reject
            | Action::Drop
            | Action::Hold,
            _,
        ) => frame.clone(),
    }
}

/// Sends a frame from a pod, and holds the octets that come out against the verdict.
#[track_caller]
fn send<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>) -> Verdict<A> {
    let mut octets = frame.build();
    let verdict = dp.send(&mut octets);
    assert_eq!(octets, after(frame, &verdict).build());
    verdict
}

/// Lets a frame reach a pod, and holds the octets that come out against the verdict.
#[track_caller]
fn receive<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>) -> Verdict<A> {
    let mut octets = frame.build();
    let verdict = dp.receive(&mut octets);
    assert_eq!(octets, after(frame, &verdict).build());
    verdict
}

/// Sends a frame that must go to a backend: the backend, and why.
#[track_caller]
fn forwarded<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>) -> (A, Reason) {
    let verdict = send(dp, frame);
    assert_eq!(verdict.action, Action::Rewrite, "{verdict:?}");
    assert_eq!(verdict.rewrite.side, Side::Destination);
    (verdict.rewrite.to.address, verdict.reason)
}

/// Answers a frame from the backend that it goes to, with TCP's flags or SCTP's chunk; both frames must be translated.
#[track_caller]
fn answered<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>, flags: u8) -> A {
    let verdict = send(dp, frame);
    assert_eq!(verdict.action, Action::Rewrite, "{verdict:?}");
    let mut answer = after(frame, &verdict).reversed();
    match &mut answer.l4 {
        L4::Tcp { flags: old, .. } => *old = flags,
        L4::Sctp { chunk, .. } => *chunk = flags,
        L4::Udp { .. } | L4::Other { .. } => {}
    }
    let back = receive(dp, &answer);
    assert_eq!(back.reason, Reason::Reply);
    assert_eq!(back.rewrite.to.address, frame.ip.destination);
    verdict.rewrite.to.address
}

/// Takes a backend away as the agent does: its row goes, its slots go to the others; none left empties the range.
fn retire<A: Family>(dp: &mut MemoryDataplane<A>, protocol: Protocol, id: u32) {
    dp.backends.remove(&id);
    let mut left: Vec<u32> = dp.backends.keys().copied().collect();
    left.sort_unstable();
    if left.is_empty() {
        let range = SlotRange::default();
        let frontend = Frontend::new(SERVICE, range, range, 0, 0);
        dp.put_frontend(A::vip(10), 80, protocol, frontend);
        return;
    }
    for (i, slot) in dp.slots.iter_mut().enumerate() {
        if *slot == id {
            *slot = left[i % left.len()];
        }
    }
}

/// The id of the backend of an address.
fn id_of<A: Family>(dp: &MemoryDataplane<A>, address: A) -> u32 {
    let found = dp
        .backends
        .iter()
        .find(|(_, backend)| backend.endpoint().address == address);
    *found.expect("a backend of the address").0
}

/// Each flow is found from both sides, and both say the same.
#[track_caller]
fn assert_no_half_flow<A: Family>(dp: &MemoryDataplane<A>) {
    assert_eq!(dp.flows.half(), None);
}
