//! A pod that reaches itself (S-42) has two flows, which are forgotten together.

use super::{Dataplane, Room};
use crate::conntrack::FlowTable;

/// Forgets the other flow of the hairpin that `room.known` is one of. It is the [mirror](crate::conntrack::Flow::mirror) but
/// for the frontend's port: where it is the first flow, only its own entry knows that. So the entry is asked.
#[inline(always)]
pub(super) fn forget_other<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) {
    room.mirrored.mirror(&room.known);
    room.other_key.set_from_backend(&room.mirrored);
    if dp
        .flows()
        .find_frontend_port(&room.other_key, &mut room.mirrored)
    {
        dp.flows().remove(&room.mirrored);
    }
}
