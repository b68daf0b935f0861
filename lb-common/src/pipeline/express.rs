//! The packet that nearly all are: a plain segment of a connection that is established, or of none. It changes nothing but
//! itself, so that a part of its flow is enough to know.
//!
//! What is decided here is what [`from_workload`](super::from_workload) and [`to_workload`](super::to_workload) decide on the same
//! packet, only sooner. Whatever is unusual is left to them.

use super::{Dataplane, Verdict, age, assurance, ending};
use crate::addr::{Endpoint, Port, Protocol};
use crate::conntrack::{ConntrackKey, Direction, FlowState, FlowTable, Peek, Peeked};
use crate::packet::{Packet, Transport};
use crate::reason::Reason;
use crate::rewrite::{Rewrite, Side};

/// Decides on a plain segment that leaves a pod, or not.
#[inline(always)]
pub fn from_workload<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
) -> Option<Verdict<D::Address>> {
    let Transport::Tcp(ports, flags) = packet.transport else {
        return None;
    };
    if flags.opens() {
        return None;
    }
    let tuple = packet.from_client(&ports, Protocol::Tcp);
    let key = ConntrackKey::new(&tuple, Direction::FromClient);
    let mut flow = Peek::empty();
    if dp.flows().peek(&key, &mut flow) != Peeked::Known {
        return None;
    }
    let seen = assurance(flow.state(), Some(flags));
    if adds(
        dp,
        &flow,
        ending(Some(flags), FlowState::CLIENT_FIN).with(seen),
    ) {
        return None;
    }
    let rewrite = rewrite(Side::Destination, flow.to(), ports.source);
    Some(Verdict::rewrite(rewrite, Reason::Forward))
}

/// Decides on a plain segment that reaches a pod, or not.
#[inline(always)]
pub fn to_workload<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
) -> Option<Verdict<D::Address>> {
    let Transport::Tcp(ports, flags) = packet.transport else {
        return None;
    };
    let tuple = packet.from_backend(&ports, Protocol::Tcp);
    let key = ConntrackKey::new(&tuple, Direction::FromBackend);
    let mut flow = Peek::empty();
    match dp.flows().peek(&key, &mut flow) {
        Peeked::Known => {}
        Peeked::Unknown => return Some(Verdict::pass(Reason::NotForService)),
        Peeked::Unsaid => return None,
    }
    let seen = FlowState::REPLIED.with(ending(Some(flags), FlowState::BACKEND_FIN));
    if flags.accepts() || adds(dp, &flow, seen) {
        return None;
    }
    let rewrite = rewrite(Side::Source, flow.to(), ports.destination);
    Some(Verdict::rewrite(rewrite, Reason::Reply))
}

/// Whether a packet adds to the state of its flow, or to its stamp.
#[inline(always)]
fn adds<D: Dataplane>(dp: &D, flow: &Peek<D::Address>, seen: FlowState) -> bool {
    let state = flow.state();
    state.with(seen) != state || age(dp, flow.last_seen(), dp.now()) >= dp.ticks_per_second()
}

#[inline(always)]
fn rewrite<A>(side: Side, to: Endpoint<A>, other_port: Port) -> Rewrite<A> {
    Rewrite {
        side,
        to,
        other_port,
    }
}
