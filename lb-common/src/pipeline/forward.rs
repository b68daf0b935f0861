//! Packets from a pod: to a Service, or to anything else.

use super::select::{self, First};
use super::{Dataplane, Verdict, ending, forget, is_idle, record};
use crate::addr::{Address, Protocol};
use crate::conntrack::{Flow, FlowState, FlowTable, Tuple};
use crate::frontend::FrontendKey;
use crate::packet::{Packet, TcpFlags, Transport};
use crate::reason::Reason;
use crate::rewrite::{Rewrite, Side};

/// Decides on a packet that leaves a pod.
#[inline(always)]
pub fn from_workload<D: Dataplane>(dp: &D, packet: &Packet<D::Address>) -> Verdict<D::Address> {
    if !dp.may_be_vip(&packet.destination) {
        return Verdict::pass(Reason::NotForService);
    }
    match packet.transport {
        Transport::Tcp(ports, flags) => {
            balance(dp, &packet.from_client(&ports, Protocol::Tcp), Some(flags))
        }
        Transport::Udp(ports) => balance(dp, &packet.from_client(&ports, Protocol::Udp), None),
        Transport::Fragment(_) => untranslatable(dp, packet, Reason::Fragment),
        Transport::Other(_) => untranslatable(dp, packet, Reason::UnknownProtocol),
    }
}

/// A packet without ports passes; it is counted where its destination really is a VIP.
#[inline(always)]
fn untranslatable<D: Dataplane>(
    dp: &D,
    packet: &Packet<D::Address>,
    reason: Reason,
) -> Verdict<D::Address> {
    match dp.frontend(&FrontendKey::address_row(packet.destination)) {
        Some(_) => Verdict::pass(reason),
        None => Verdict::pass(Reason::NotForService),
    }
}

#[inline(always)]
fn balance<D: Dataplane>(
    dp: &D,
    tuple: &Tuple<D::Address>,
    flags: Option<TcpFlags>,
) -> Verdict<D::Address> {
    let now = dp.now();
    let reason = match dp.flows().find_from_client(tuple) {
        None => Reason::NewFlow,
        Some(flow) => match standing(dp, &flow, flags, now) {
            Standing::Keep => {
                record(dp, &flow, ending(flags, FlowState::CLIENT_FIN), now);
                return Verdict::rewrite(towards_backend(&flow), Reason::Forward);
            }
            Standing::Renew(reason) => {
                forget(dp, &flow);
                reason
            }
        },
    };
    select::backend(dp, tuple, First { flags, reason, now })
}

/// The rewrite of a packet of a flow on its way to the backend.
#[inline(always)]
pub(super) fn towards_backend<A: Address>(flow: &Flow<A>) -> Rewrite<A> {
    Rewrite {
        side: Side::Destination,
        to: flow.backend(),
    }
}

/// Whether a known flow goes on.
enum Standing {
    /// With its backend.
    Keep,
    /// With a backend selected anew.
    Renew(Reason),
}

/// An established TCP connection stays with its backend whatever becomes of it (S-50); a new connection on an old tuple
/// and every UDP packet need a backend that still is the one they were given (S-51).
#[inline(always)]
fn standing<D: Dataplane>(
    dp: &D,
    flow: &Flow<D::Address>,
    flags: Option<TcpFlags>,
    now: u32,
) -> Standing {
    match flags {
        Some(flags) if !flags.opens() => return Standing::Keep,
        Some(_) if flow.state().is_closed() => return Standing::Renew(Reason::NewFlow),
        Some(_) => {}
        None if is_idle(dp, flow, now) => return Standing::Renew(Reason::NewFlow),
        None => {}
    }
    match dp.backend(flow.backend_id()) {
        Some(backend) if backend.epoch() == flow.epoch() => Standing::Keep,
        _ => Standing::Renew(Reason::Reselected),
    }
}
