//! ICMP errors about packets of a flow (S-32): from a router or the backend to the client, and from the client to the backend.
//!
//! They make no flow and keep none alive.

use super::{Dataplane, Room, is_idle};
use crate::conntrack::{ConntrackKey, Direction, FlowTable, Tuple};
use crate::packet::Packet;
use crate::packet::icmp::Quoted;
use crate::rewrite::{Related, Side};

/// What changes in an error, or none where it is about no known flow. `direction` is the error's: one from the client is
/// about a packet that the client got from the frontend, one towards the client about a packet that went to the backend.
#[inline(always)]
pub fn related<D: Dataplane>(
    dp: &D,
    direction: Direction,
    error: &Packet<D::Address>,
    quoted: &Quoted<D::Address>,
    room: &mut Room<D::Address>,
) -> Option<Related<D::Address>> {
    // An error goes to the sender of what it quotes; another is forged (`nf_conntrack_inet_error`).
    if error.destination != quoted.source.address {
        return None;
    }
    let (client, peer) = match direction {
        Direction::FromClient => (quoted.destination, quoted.source),
        Direction::FromBackend => (quoted.source, quoted.destination),
    };
    let tuple = Tuple {
        client,
        peer,
        protocol: quoted.protocol,
    };
    room.key = ConntrackKey::new(&tuple, direction);
    if !dp.flows().find(&room.key, &mut room.known) || is_idle(dp, &room.known, dp.now()) {
        return None;
    }
    Some(match direction {
        Direction::FromClient => Related {
            side: Side::Source,
            to: room.known.backend(),
            other_port: room.known.source_port(),
            outer: true,
        },
        // A router speaks for itself.
        Direction::FromBackend => Related {
            side: Side::Destination,
            to: room.known.frontend(),
            other_port: room.known.client().port,
            outer: error.source == quoted.destination.address,
        },
    })
}
