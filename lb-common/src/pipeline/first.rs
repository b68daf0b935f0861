//! What is known of the packet that begins a flow.

use crate::packet::TcpFlags;
use crate::reason::Reason;

/// The packet that begins a flow. Part of [`Room`](super::Room): what is read back from memory makes no difference to the
/// verifier, which would else follow each kind of packet through the whole selection.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct First {
    /// The time.
    pub(super) now: u32,
    /// Whether the flow is known and its backend is gone: 0 or 1.
    is_reselected: u32,
    /// Its flags, if it is a TCP segment.
    pub(super) flags: Option<TcpFlags>,
}

impl First {
    /// No packet.
    pub(super) const NONE: Self = Self {
        now: 0,
        is_reselected: 0,
        flags: None,
    };

    /// A packet of a flow that is new, or whose backend is gone.
    #[inline(always)]
    pub(super) fn new(flags: Option<TcpFlags>, is_reselected: bool, now: u32) -> Self {
        Self {
            now,
            is_reselected: is_reselected as u32,
            flags,
        }
    }

    /// Why a backend is selected.
    #[inline(always)]
    pub(super) fn reason(&self) -> Reason {
        if self.is_reselected == 0 {
            Reason::NewFlow
        } else {
            Reason::Reselected
        }
    }

    /// Whether it opens a connection, as any datagram does that begins a flow.
    #[inline(always)]
    pub(super) fn opens(&self) -> bool {
        self.flags.is_none_or(TcpFlags::opens)
    }
}
