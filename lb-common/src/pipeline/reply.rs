//! Packets to a pod: replies of a backend, or anything else.

use super::{Dataplane, Verdict, ending, record};
use crate::addr::Protocol;
use crate::conntrack::{FlowState, FlowTable};
use crate::packet::{Packet, Transport};
use crate::reason::Reason;
use crate::rewrite::{Rewrite, Side};

/// Decides on a packet that reaches a pod: reverse NAT where it belongs to a flow of the pod.
#[inline(always)]
pub fn to_workload<D: Dataplane>(dp: &D, packet: &Packet<D::Address>) -> Verdict<D::Address> {
    let (tuple, flags) = match packet.transport {
        Transport::Tcp(ports, flags) => (packet.from_backend(&ports, Protocol::Tcp), Some(flags)),
        Transport::Udp(ports) => (packet.from_backend(&ports, Protocol::Udp), None),
        Transport::Fragment(_) | Transport::Other(_) => {
            return Verdict::pass(Reason::NotForService);
        }
    };
    let Some(flow) = dp.flows().find_from_backend(&tuple) else {
        return Verdict::pass(Reason::NotForService);
    };
    record(
        dp,
        &flow,
        FlowState::REPLIED.with(ending(flags, FlowState::BACKEND_FIN)),
        dp.now(),
    );
    let rewrite = Rewrite {
        side: Side::Source,
        to: flow.frontend(),
    };
    Verdict::rewrite(rewrite, Reason::Reply)
}
