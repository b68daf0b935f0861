//! Brings the checksum of an SCTP packet after its ports.
//!
//! It is done from the outermost function, last of all: the verifier walks the 64 steps of the arithmetic for each way that leads
//! to them, and of these there are few.

use lb_common::packet::Octets;
use lb_common::reason::Reason;
use lb_common::rewrite::Edits;
use lb_common::{checksum, crc32c};

use crate::maps::count;
use crate::programs::{CRC, DROP, ONWARD};
use crate::scratch::{self, Scratch};
use crate::skb::Skb;

/// What is to be done.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Crc {
    /// Offset of the checksum in the frame.
    at: u32,
    /// The old and the new ports as octets of the packet.
    old: [u8; 4],
    new: [u8; 4],
    /// The number of octets behind the ports.
    behind: u32,
}

impl Crc {
    /// Of a packet whose ports are changed.
    #[inline(always)]
    pub(crate) fn of<A>(edits: &Edits<A>) -> Self {
        let (old, new) = edits.transport.ports;
        Self {
            at: edits.transport.checksum_at as u32,
            old,
            new,
            behind: edits.covered_by_crc.into(),
        }
    }
}

/// Does it where the action asks for it, and returns the next action.
#[inline(always)]
pub(crate) fn followed(skb: Skb, action: i32) -> i32 {
    if action == CRC { follow(skb) } else { action }
}

/// Does it, and returns the next action. Where the device has summed up the whole packet, the buffer's sum follows.
#[inline(never)]
fn follow(skb: Skb) -> i32 {
    match try_follow(skb) {
        Some(()) => ONWARD,
        None => {
            count(Reason::RewriteFailed);
            DROP
        }
    }
}

#[inline(always)]
fn try_follow(skb: Skb) -> Option<()> {
    // SAFETY: this run's scratch, in which it was stored.
    let crc = unsafe { scratch::crc(Scratch::get()?) };
    let field = skb.read::<4>(crc.at as usize)?;
    let updated = crc32c::update(field, crc.old, crc.new, crc.behind as u16);
    skb.write(crc.at as usize, updated)?;
    let before = checksum::words(crc.old) + checksum::words(field);
    let after = checksum::words(crc.new) + checksum::words(updated);
    skb.add_to_sum(checksum::fold(checksum::difference(before, after)));
    Some(())
}
