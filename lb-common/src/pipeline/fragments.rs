//! Fragments: what is decided on the first one of a datagram is done to the others (S-33).
//!
//! Each is translated where it stands. One that comes before the first, which alone has the ports, is held; when the first
//! has come, it is put back to where it came from, and is now one that follows.

use super::{Action, Dataplane, Room, UNALLOCATED, Verdict, is_older, vip_flags};
use crate::addr::{Address, Endpoint, Port, Protocol};
use crate::conntrack::Direction;
use crate::fragments::{Decision, MOST_HELD, SECONDS};
use crate::packet::{Fragment, Packet};
use crate::reason::Reason;
use crate::rewrite::{Rewrite, Side};

/// Notes whether the packet is a first fragment, before it is decided on: afterwards it is not at hand.
#[inline(always)]
pub(super) fn note<A: Address>(packet: &Packet<A>, room: &mut Room<A>) {
    room.held = 0;
    room.is_first = u32::from(packet.fragment.is_first());
    if packet.fragment.is_first() {
        room.first_protocol = packet.fragment.protocol.into();
        room.fragments_key.set(packet);
    }
}

/// Keeps a verdict for the fragments that follow, where its packet is the first, and notes how many came before it. Returns the
/// verdict, which is to drop where a port would change and is SCTP's: the checksum covers more than the packet.
#[inline(always)]
pub(super) fn remember<D: Dataplane>(
    dp: &D,
    mut verdict: Verdict<D::Address>,
    room: &mut Room<D::Address>,
) -> Verdict<D::Address> {
    if room.is_first != 0 {
        let decision = match (verdict.action, verdict.rewrite.side) {
            (Action::Rewrite, Side::Source) => Decision::Source,
            (Action::Rewrite, Side::Destination) => Decision::Destination,
            (Action::Drop | Action::Reject, _) => Decision::Drop,
            _ => Decision::Pass,
        };
        room.decided = verdict.rewrite.to.address;
        // A number, for the verifier of BPF programs would walk both ways from a comparison.
        let Rewrite { to, other_port, .. } = &verdict.rewrite;
        let [port, other] = room.ports;
        let port_change = (port.get() ^ to.port.get()) | (other.get() ^ other_port.get());
        if record(dp, decision, port_change, room) == Recorded::Impossible {
            verdict = Verdict::drop(Reason::SctpChecksum);
        }
    }
    verdict
}

/// Whether a first fragment can be dealt with as decided.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Recorded {
    /// It can.
    Possible,
    /// It can't: it is SCTP's, and its port would change.
    Impossible,
}

/// Writes the record of a first fragment. Few packets are one: as the other functions of this file that take no packet, it is
/// one of its own for its stack frame. `port_change` is not 0 where a rewrite changes the port.
#[inline(never)]
fn record<D: Dataplane>(
    dp: &D,
    mut decision: Decision,
    port_change: u16,
    room: &mut Room<D::Address>,
) -> Recorded {
    let mut recorded = Recorded::Possible;
    let is_rewrite = matches!(decision, Decision::Source | Decision::Destination);
    if is_rewrite && port_change != 0 && room.first_protocol == u32::from(Protocol::Sctp.number()) {
        decision = Decision::Drop;
        recorded = Recorded::Impossible;
    }
    let identification = room.fragments_key.identification();
    if is_known(dp, room) && decision != Decision::Drop {
        room.held = room.fragments.held(identification) as u32;
    }
    room.fragments
        .decide(identification, decision, room.decided, dp.now());
    dp.remember_fragments(&room.fragments_key, &room.fragments);
    recorded
}

/// Decides on a later fragment that leaves a pod, for what may be a VIP.
#[inline(always)]
pub(super) fn from_workload<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
    room: &mut Room<D::Address>,
) -> Verdict<D::Address> {
    room.fragments_key.set(packet);
    let Fragment {
        identification,
        protocol,
        ..
    } = packet.fragment;
    verdict(
        towards_vip(dp, identification, protocol, room),
        Side::Destination,
        room,
    )
}

#[inline(never)]
fn towards_vip<D: Dataplane>(
    dp: &D,
    identification: u32,
    protocol: u8,
    room: &mut Room<D::Address>,
) -> Reason {
    let known = is_known(dp, room);
    if known && room.fragments.says(Decision::Destination, identification) {
        return Reason::Fragment;
    }
    match vip_flags(dp, &room.fragments_key.destination()) {
        0 => return Reason::NotForService,
        UNALLOCATED => return Reason::Unallocated,
        _ => {}
    }
    if Protocol::from_number(protocol).is_none() {
        return Reason::UnknownProtocol;
    }
    if known && room.fragments.says(Decision::Drop, identification) {
        return Reason::FragmentWithoutFirst;
    }
    hold(dp, identification, (known, Direction::FromClient), room)
}

/// Decides on a later fragment that reaches a pod.
#[inline(always)]
pub(super) fn to_workload<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
    room: &mut Room<D::Address>,
) -> Verdict<D::Address> {
    room.fragments_key.set(packet);
    let Fragment {
        identification,
        protocol,
        ..
    } = packet.fragment;
    verdict(
        towards_pod(dp, identification, protocol, room),
        Side::Source,
        room,
    )
}

#[inline(never)]
fn towards_pod<D: Dataplane>(
    dp: &D,
    identification: u32,
    protocol: u8,
    room: &mut Room<D::Address>,
) -> Reason {
    let known = is_known(dp, room);
    if known && room.fragments.says(Decision::Source, identification) {
        return Reason::Fragment;
    }
    let passes = known && room.fragments.says(Decision::Pass, identification);
    if passes || Protocol::from_number(protocol).is_none() {
        return Reason::NotForService;
    }
    if known && room.fragments.says(Decision::Drop, identification) {
        return Reason::FragmentWithoutFirst;
    }
    hold(dp, identification, (known, Direction::FromBackend), room)
}

/// What becomes of a fragment that is to be held, and for which there is no room. One that leaves a pod is for a VIP and
/// would go nowhere; one that reaches a pod may be for no Service.
#[inline(always)]
pub fn not_held(direction: Direction) -> Reason {
    match direction {
        Direction::FromClient => Reason::FragmentWithoutFirst,
        Direction::FromBackend => Reason::NotForService,
    }
}

/// Holds a fragment of which nothing is decided.
#[inline(always)]
fn hold<D: Dataplane>(
    dp: &D,
    identification: u32,
    (known, direction): (bool, Direction),
    room: &mut Room<D::Address>,
) -> Reason {
    let held = if known {
        room.fragments.held(identification)
    } else {
        0
    };
    if held >= MOST_HELD {
        return not_held(direction);
    }
    room.held_key.set(&room.fragments_key, held);
    room.fragments
        .await_first(identification, held + 1, dp.now());
    dp.remember_fragments(&room.fragments_key, &room.fragments);
    Reason::FragmentHeld
}

/// Whether something fresh is known of the datagram that `room.fragments_key` describes; `room.fragments` says it.
#[inline(always)]
fn is_known<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) -> bool {
    dp.fragments(&room.fragments_key, &mut room.fragments)
        && !is_older(dp, room.fragments.written_at(), SECONDS, dp.now())
}

/// What happens to a later fragment for a reason.
#[inline(always)]
fn verdict<A: Address>(reason: Reason, side: Side, room: &Room<A>) -> Verdict<A> {
    match reason {
        Reason::Fragment => {
            let to = Endpoint {
                address: room.fragments.address(),
                port: Port::new(0),
            };
            let rewrite = Rewrite {
                side,
                to,
                // It has no ports.
                other_port: Port::new(0),
            };
            Verdict::rewrite(rewrite, reason)
        }
        Reason::FragmentHeld => Verdict::hold(),
        Reason::FragmentWithoutFirst | Reason::Unallocated => Verdict::drop(reason),
        _ => Verdict::pass(reason),
    }
}
