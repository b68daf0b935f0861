//! Fragments: what is decided on the first one of a datagram is done to those that follow it (S-33).
//!
//! Each is translated where it stands; none waits for another, for a program can't keep a packet. One that comes before
//! the first of its datagram is not served.

use super::{Action, Dataplane, Room, Verdict, is_older, vip_flags};
use crate::addr::{Endpoint, Port};
use crate::fragments::SECONDS;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::rewrite::{Rewrite, Side};

/// Keeps a verdict for the fragments that follow, where its packet is the first.
#[inline(always)]
pub(super) fn remember<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
    verdict: &Verdict<D::Address>,
    room: &mut Room<D::Address>,
) {
    if packet.fragment.is_first() && verdict.action == Action::Rewrite {
        let Rewrite { side, to } = verdict.rewrite;
        let identification = packet.fragment.identification;
        room.fragments
            .set(identification, side, to.address, dp.now());
        room.fragments_key.set(packet);
        dp.remember_fragments(&room.fragments_key, &room.fragments);
    }
}

/// Decides on a later fragment that leaves a pod, for what may be a VIP.
#[inline(always)]
pub(super) fn from_workload<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
    room: &mut Room<D::Address>,
) -> Verdict<D::Address> {
    if recall(dp, packet, Side::Destination, room) {
        return verdict(Side::Destination, room);
    }
    if vip_flags(dp, &packet.destination) == 0 {
        return Verdict::pass(Reason::NotForService);
    }
    match packet.fragment.protocol {
        6 | 17 | 132 => Verdict::drop(Reason::FragmentWithoutFirst),
        _ => Verdict::pass(Reason::UnknownProtocol),
    }
}

/// Decides on a later fragment that reaches a pod. One that is not known may be for no Service.
#[inline(always)]
pub(super) fn to_workload<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
    room: &mut Room<D::Address>,
) -> Verdict<D::Address> {
    if recall(dp, packet, Side::Source, room) {
        verdict(Side::Source, room)
    } else {
        Verdict::pass(Reason::NotForService)
    }
}

/// Whether it is known what becomes of one side of a later fragment; `room.fragments` says it.
#[inline(always)]
fn recall<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
    side: Side,
    room: &mut Room<D::Address>,
) -> bool {
    room.fragments_key.set(packet);
    dp.fragments(&room.fragments_key, &mut room.fragments)
        && room.fragments.is_of(packet.fragment.identification, side)
        && !is_older(dp, room.fragments.decided_at(), SECONDS, dp.now())
}

#[inline(always)]
fn verdict<A: crate::addr::Address>(side: Side, room: &Room<A>) -> Verdict<A> {
    let to = Endpoint {
        address: room.fragments.address(),
        port: Port::new(0),
    };
    Verdict::rewrite(Rewrite { side, to }, Reason::Fragment)
}
