//! Packets from a pod that may be for a Service.

use super::first::First;
use super::{
    Dataplane, Room, UNALLOCATED, Verdict, assurance, echo, ending, failover, forget_known,
    fragments, is_idle, record, select, vip_flags,
};
use crate::addr::{Address, Protocol};
use crate::conntrack::{ConntrackKey, Direction, Flow, FlowState, FlowTable};
use crate::packet::{Packet, TcpFlags, Transport};
use crate::reason::Reason;
use crate::rewrite::{Rewrite, Side};

/// Decides on a packet that leaves a pod and may be for a Service, as [`glance`](super::glance) has it.
#[inline(always)]
pub fn from_workload<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
    room: &mut Room<D::Address>,
) -> Verdict<D::Address> {
    fragments::note(packet, room);
    let (ports, protocol, flags) = match packet.transport {
        Transport::Tcp(ports, flags) => (ports, Protocol::Tcp, Some(flags)),
        Transport::Udp(ports) => (ports, Protocol::Udp, None),
        Transport::Sctp(ports, flags) => (ports, Protocol::Sctp, Some(flags)),
        Transport::Fragment => return fragments::from_workload(dp, packet, room),
        Transport::EchoRequest => return echo::from_workload(dp, packet),
        Transport::IcmpError => return Verdict::relate(untranslatable(dp, packet)),
        Transport::Other(_) => {
            return match untranslatable(dp, packet) {
                Reason::Unallocated => Verdict::drop(Reason::Unallocated),
                reason => Verdict::pass(reason),
            };
        }
    };
    let tuple = packet.from_client(&ports, protocol);
    room.key = ConntrackKey::new(&tuple, Direction::FromClient);
    room.ports = [ports.destination, ports.source];
    let verdict = balance(dp, flags, room);
    fragments::remember(dp, verdict, room)
}

/// Why a packet without ports passes, unless nobody has its destination; it is counted where that really is a VIP.
#[inline(always)]
fn untranslatable<D: Dataplane>(dp: &D, packet: &Packet<D::Address>) -> Reason {
    match vip_flags(dp, &packet.destination) {
        0 => Reason::NotForService,
        UNALLOCATED => Reason::Unallocated,
        _ => Reason::UnknownProtocol,
    }
}

#[inline(always)]
fn balance<D: Dataplane>(
    dp: &D,
    flags: Option<TcpFlags>,
    room: &mut Room<D::Address>,
) -> Verdict<D::Address> {
    let now = dp.now();
    let mut is_reselected = false;
    failover::none(room);
    if dp.flows().find(&room.key, &mut room.known) {
        match standing(dp, &room.known, flags, now) {
            Standing::Keep => {
                let assured = assurance(room.known.state(), flags);
                let seen = ending(flags, FlowState::CLIENT_FIN).with(assured);
                record(dp, &mut room.known, seen, now);
                return Verdict::rewrite(towards_backend(&room.known), Reason::Forward);
            }
            Standing::New => {}
            Standing::Reselect => is_reselected = true,
            Standing::Move => failover::note(dp, room),
        }
        forget_known(dp, room);
    }
    room.first = First::new(flags, is_reselected, now);
    let reason = select::backend(dp, room);
    select::verdict(reason, &room.new)
}

/// The rewrite of a packet of a flow on its way to the backend.
#[inline(always)]
pub(super) fn towards_backend<A: Address>(flow: &Flow<A>) -> Rewrite<A> {
    Rewrite {
        side: Side::Destination,
        to: flow.backend(),
        other_port: flow.source_port(),
    }
}

/// Whether a known flow goes on.
enum Standing {
    /// With its backend.
    Keep,
    /// It is over, and another one begins.
    New,
    /// With a backend selected anew, for its own is gone.
    Reselect,
    /// With a backend other than those that never answered.
    Move,
}

/// An established TCP connection stays with its backend whatever becomes of it (S-50); a new connection on an old tuple
/// and every UDP packet need a backend that still is the one they were given (S-51). A SYN that comes again because nobody
/// has answered needs another one.
#[inline(always)]
fn standing<D: Dataplane>(
    dp: &D,
    flow: &Flow<D::Address>,
    flags: Option<TcpFlags>,
    now: u32,
) -> Standing {
    match flags {
        Some(flags) if !flags.opens() => return Standing::Keep,
        Some(_) if flow.state().is_closed() => return Standing::New,
        Some(_) if failover::is_due(dp, flow, now) => return Standing::Move,
        Some(_) => {}
        None if is_idle(dp, flow, now) => return Standing::New,
        None => {}
    }
    match dp.backend(flow.backend_id()) {
        Some(backend) if backend.epoch() == flow.epoch() => Standing::Keep,
        _ => Standing::Reselect,
    }
}
