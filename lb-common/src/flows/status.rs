//! What changes in the life of a flow, in one word.

use super::Words;
use crate::addr::{Address, Protocol};
use crate::conntrack::{Flow, FlowState};

/// State, stamp and generation of a flow in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Status(pub(super) u64);

/// Seconds without packets after which an assured flow has no right to its way: of TCP, and of all else. As
/// [`Flow::longest_silence`], but that UDP is given as long as SCTP.
const LASTING_SECONDS: u64 = 24 * 3600;
const OTHER_SECONDS: u64 = 210;

/// The part of a second for which a flow that is not assured has its way: a handshake takes less, as a rule, and must not be displaced
/// by the next one.
const HANDSHAKE: u32 = 8;
/// A stamp that another CPU has just made may lie ahead by a tick; ages are counted from here.
const AHEAD: u32 = 8;

impl Status {
    /// The status of a flow that is written to a way.
    #[inline(always)]
    pub(super) fn new<A: Address>(flow: &Flow<A>, generation: u16) -> Self {
        let lasting = (flow.protocol() == Protocol::Tcp) as u64;
        Self(
            flow.last_seen() as u64
                | (flow.state().bits() as u64) << 32
                | lasting << 40
                | (generation as u64) << 48,
        )
    }

    /// The tick of the last stamp.
    #[inline(always)]
    pub(super) fn last_seen(self) -> u32 {
        self.0 as u32
    }

    /// What has been seen.
    #[inline(always)]
    pub(super) fn state(self) -> FlowState {
        FlowState::from_bits((self.0 >> 32) as u8)
    }

    /// The generation of the way at the time when the flow was written.
    #[inline(always)]
    pub(super) fn generation(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The same with more state and another stamp.
    #[inline(always)]
    pub(super) fn seen(self, state: FlowState, last_seen: u32) -> Self {
        const STAMP: u64 = u32::MAX as u64;
        Self((self.0 & !STAMP) | last_seen as u64 | (state.bits() as u64) << 32)
    }

    /// How well the flow can be spared, in ticks: 0 where it can not, for it is in use or has just begun; else its age, and more than
    /// any age where it is over or nobody's. Without a branch, each of which the verifier would walk for every way of the bucket.
    #[inline(always)]
    pub(super) fn spare<W: Words>(self, now: u32, ticks_per_second: u32) -> u64 {
        let word = W::opaque(self.0);
        let state = word >> 32;
        let is_closed = W::opaque(((state >> 3) | ((state >> 1) & (state >> 2))) & 1);
        let is_assured = W::opaque((state >> 4) & 1);
        let lasting = W::opaque((word >> 40) & 1);
        let age = now.wrapping_sub(word as u32).wrapping_add(AHEAD) as u64;
        let handshake = (ticks_per_second / HANDSHAKE + AHEAD) as u64;
        let is_young = W::opaque(age.wrapping_sub(handshake) >> 63);
        let seconds = OTHER_SECONDS + lasting * (LASTING_SECONDS - OTHER_SECONDS);
        let is_idle = W::opaque((seconds * ticks_per_second as u64).wrapping_sub(age) >> 63);
        let is_free = W::opaque(is_closed | (is_assured & is_idle));
        let counts = W::opaque((is_free | ((is_assured | is_young) ^ 1)).wrapping_neg());
        (age & counts) | is_free << 32
    }

    /// Whether what [`Status::spare`] tells is of a flow that is over or nobody's.
    #[inline(always)]
    pub(super) fn is_free(spare: u64) -> bool {
        spare >> 32 != 0
    }
}
