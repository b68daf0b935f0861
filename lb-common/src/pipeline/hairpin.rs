//! A pod that reaches itself (S-42) has two flows, which are forgotten together.

use super::{Dataplane, Room};
use crate::conntrack::FlowTable;

/// Forgets the other flow of the hairpin that `room.known` is one of. It is the [mirror](crate::conntrack::Flow::mirror) but
/// for the frontend's port and the client's own: where it is the first flow, only its own entry knows these. So the entry is asked.
#[inline(always)]
pub(super) fn forget_other<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) {
    room.mirrored.mirror(&room.known);
    room.other_key.set_from_backend(&room.mirrored);
    if dp.flows().find_ports(&room.other_key, &mut room.mirrored) {
        dp.flows().remove(&room.mirrored);
    }
}

/// Whether the other flow of the hairpin that begins with `room.new` can be entered. It can not while the pod speaks from the
/// port that it serves to the same frontend address, at the port that it now comes from: that is a flow to another backend,
/// and half of it would be overwritten.
#[inline(always)]
pub(super) fn other_is_free<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) -> bool {
    room.mirrored.mirror(&room.new);
    room.other_key.set_from_client(&room.mirrored);
    !dp.flows().find(&room.other_key, &mut room.mirrored)
        || room.mirrored.backend() == room.new.client_at_backend()
}
