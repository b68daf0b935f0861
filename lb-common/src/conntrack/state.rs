//! How far a connection has come.

/// Where flows live. What anybody can make by sending packets has a place of its own, so that a flood of them displaces no
/// connection that is in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum Table {
    /// Flows that are assured and not over.
    Conntrack = 0,
    /// Flows that are not assured yet, or over.
    Transient = 1,
}

/// What has been seen of a connection; a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowState(u8);

impl FlowState {
    /// The backend has answered.
    pub const REPLIED: Self = Self(1);
    /// The client has sent FIN, or SCTP's SHUTDOWN.
    pub const CLIENT_FIN: Self = Self(2);
    /// The backend has sent FIN, or SCTP's SHUTDOWN.
    pub const BACKEND_FIN: Self = Self(4);
    /// One side has sent RST, or SCTP's ABORT or SHUTDOWN COMPLETE.
    pub const RESET: Self = Self(8);
    /// The client has gone on after the backend had answered: both ends take part, so no forged packet alone made the flow.
    /// What netfilter calls ASSURED.
    pub const ASSURED: Self = Self(16);
    /// The flow begins with a segment that opens nothing: of a connection that was open when its entry was lost, or a forged one.
    pub const RESUMED: Self = Self(32);

    /// Nothing seen but the client's first packet.
    pub const NEW: Self = Self(0);

    /// The state of a flow that is read from a map.
    #[inline(always)]
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// As it is kept in a flow.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all bits of `other` are set.
    #[inline(always)]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// This state with the bits of `other`.
    #[inline(always)]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a new connection may take over the tuple: both sides have finished, or one has reset.
    #[inline(always)]
    pub const fn is_closed(self) -> bool {
        self.has(Self::RESET) || self.has(Self(Self::CLIENT_FIN.0 | Self::BACKEND_FIN.0))
    }

    /// Whether the connection is known to be open at the backend, or claimed to be by its first segment.
    #[inline(always)]
    pub const fn is_open(self) -> bool {
        self.0 & (Self::REPLIED.0 | Self::RESUMED.0) != 0
    }

    /// The table that a flow of this state belongs to.
    #[inline(always)]
    pub const fn table(self) -> Table {
        if self.has(Self::ASSURED) && !self.is_closed() {
            Table::Conntrack
        } else {
            Table::Transient
        }
    }

    /// The state in a word, for people.
    pub const fn name(self) -> &'static str {
        if self.has(Self(Self::CLIENT_FIN.0 | Self::BACKEND_FIN.0)) {
            "closed"
        } else if self.has(Self::RESET) {
            "reset"
        } else if self.0 & (Self::CLIENT_FIN.0 | Self::BACKEND_FIN.0) != 0 {
            "closing"
        } else if self.has(Self::ASSURED) {
            "established"
        } else if self.has(Self::REPLIED) {
            "answered"
        } else if self.has(Self::RESUMED) {
            "resumed"
        } else {
            "new"
        }
    }
}
