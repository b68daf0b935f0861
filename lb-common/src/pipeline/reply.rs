//! Packets to a pod: replies of a backend, or anything else.

use super::{Dataplane, Room, Verdict, ending, forget_known, fragments, is_idle, record};
use crate::addr::Protocol;
use crate::conntrack::{ConntrackKey, Direction, Flow, FlowState, FlowTable};
use crate::packet::{Packet, TcpFlags, Transport};
use crate::reason::Reason;
use crate::rewrite::{Rewrite, Side};

/// Decides on a packet that reaches a pod and may be a reply, as [`glance`](super::glance) has it: reverse NAT where it belongs to a flow of the pod.
#[inline(always)]
pub fn to_workload<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
    room: &mut Room<D::Address>,
) -> Verdict<D::Address> {
    fragments::note(packet, room);
    let (ports, protocol, flags) = match packet.transport {
        Transport::Tcp(ports, flags) => (ports, Protocol::Tcp, Some(flags)),
        Transport::Udp(ports) => (ports, Protocol::Udp, None),
        Transport::Sctp(ports, flags) => (ports, Protocol::Sctp, Some(flags)),
        Transport::Fragment => return fragments::to_workload(dp, packet, room),
        Transport::IcmpError => return Verdict::relate(Reason::NotForService),
        Transport::EchoRequest | Transport::Other(_) => {
            return Verdict::pass(Reason::NotForService);
        }
    };
    let tuple = packet.from_backend(&ports, protocol);
    room.key = ConntrackKey::new(&tuple, Direction::FromBackend);
    room.ports = [ports.source, ports.destination];
    let verdict = reverse(dp, flags, room);
    fragments::remember(dp, verdict, room)
}

/// Reverse NAT for the packet that `room.key` describes, if it belongs to a flow.
#[inline(always)]
fn reverse<D: Dataplane>(
    dp: &D,
    flags: Option<TcpFlags>,
    room: &mut Room<D::Address>,
) -> Verdict<D::Address> {
    if !dp.flows().find(&room.key, &mut room.known) {
        return Verdict::pass(Reason::NotForService);
    }
    let now = dp.now();
    if belongs_to_another(dp, &room.known, flags, now) {
        forget_known(dp, room);
        return Verdict::pass(Reason::NotForService);
    }
    let seen = FlowState::REPLIED.with(ending(flags, FlowState::BACKEND_FIN));
    record(dp, &mut room.known, seen, now);
    let rewrite = Rewrite {
        side: Side::Source,
        to: room.known.frontend(),
        other_port: room.known.client().port,
    };
    Verdict::rewrite(rewrite, Reason::Reply)
}

/// Whether a packet only looks like one of a flow: the flow is over, and the client has used its port again to speak to the
/// backend itself. A finished TCP connection still has late segments; an accepted connection is not among them.
#[inline(always)]
fn belongs_to_another<D: Dataplane>(
    dp: &D,
    flow: &Flow<D::Address>,
    flags: Option<TcpFlags>,
    now: u32,
) -> bool {
    match flags {
        Some(flags) if !flags.accepts() => false,
        Some(_) if flow.state().is_closed() => true,
        Some(_) | None => is_idle(dp, flow, now),
    }
}
