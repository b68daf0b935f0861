//! Ping of a VIP (S-31): answered while the Service has an endpoint, refused as its ports are while it has none.
//!
//! It says that the VIP is served. Which endpoint would answer, and whether it does, it does not say: none of them sees it.

use super::{Dataplane, UNALLOCATED, Verdict, vip_flags};
use crate::frontend::Frontend;
use crate::packet::{Packet, echo};
use crate::reason::Reason;

/// Decides on an echo request for what may be a VIP.
#[inline(always)]
pub(super) fn from_workload<D: Dataplane>(
    dp: &D,
    request: &Packet<D::Address>,
) -> Verdict<D::Address> {
    let flags = vip_flags(dp, &request.destination);
    if flags == 0 {
        return Verdict::pass(Reason::NotForService);
    }
    if flags == UNALLOCATED {
        return Verdict::drop(Reason::Unallocated);
    }
    if !echo::is_answerable(request) {
        return Verdict::pass(Reason::UnknownProtocol);
    }
    if flags & Frontend::HAS_ENDPOINTS == 0 {
        return Verdict::reject(Reason::NoEndpoint);
    }
    if !dp.take_echo_token() {
        return Verdict::drop(Reason::EchoLimited);
    }
    Verdict::echo(Reason::Echo)
}
