//! Tuple clash: the client's port already speaks to the backend through another frontend, and to the backend the two connections
//! would be one. Where no other backend will do, the new one gets another source port, as netfilter gives it
//! (`nf_nat_l4proto_unique_tuple` in `net/netfilter/nf_nat_core.c`).
//!
//! Whether the client speaks from that port to the backend directly, past all frontends, can't be known here.

use super::select::take_tuple;
use super::{Dataplane, Room};
use crate::addr::Port;
use crate::hash;

/// Ports that are tried, one lookup each. With a tenth of all ports taken, one flow in a hundred million finds none.
const TRIES: u32 = 8;

/// The ports that may stand for a client's. Part of [`Room`]: what is read back from memory is nothing that the verifier has to
/// follow from one try to the next.
#[repr(C)]
pub(super) struct Candidates {
    /// Its parts are those to be tried.
    hash: u64,
    /// The first one.
    first: u16,
    /// How many.
    count: u16,
    reserved: u32,
}

impl Candidates {
    /// None.
    pub(super) const NONE: Self = Self {
        hash: 0,
        first: 0,
        count: 1,
        reserved: 0,
    };

    /// There are servers that trust a client for its port (RFC 1282: one in 512 to 1023), so it stays on its side of both bounds.
    #[inline(always)]
    fn set(&mut self, port: Port, hash: u64) {
        self.hash = hash;
        (self.first, self.count) = match port.get() {
            ..512 => (1, 511),
            512..1024 => (512, 512),
            1024.. => (1024, 64_512),
        };
    }

    /// The next one.
    #[inline(always)]
    fn next(&mut self) -> Port {
        // Lemire, Fast Random Integer Generation in an Interval, 2019: a product in the place of a remainder.
        let offset = ((self.hash as u32 as u64) * self.count as u64) >> 32;
        self.hash = self.hash.rotate_right(8);
        Port::new(self.first.wrapping_add(offset as u16))
    }
}

/// Lets the backend of `room.new` see the client at another port, and says whether one of those tried was free. Which ones these are
/// depends on nothing but the client and the frontend, so that a flow that was forgotten is as a rule given the same again.
///
/// A function of its own: few packets need it.
#[inline(never)]
pub(super) fn take_another<D: Dataplane>(dp: &D, room: &mut Room<D::Address>) -> bool {
    let client = room.new.client();
    let hash = hash::port_hash(dp.secret(), &client, &room.new.frontend());
    room.candidates.set(client.port, hash);
    for _ in 0..TRIES {
        room.new.set_source_port(room.candidates.next());
        if take_tuple(dp, room) {
            return true;
        }
    }
    false
}
