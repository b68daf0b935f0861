//! Frontends and slots: which packets are for a service port, and the table that a backend is selected from.

use crate::addr::{Address, Endpoint, Port, Protocol};
use crate::backend::list;
use crate::layout::map_type;

/// How many slots one element of the `slots` array holds. An array's element is rounded up to eight bytes, so two
/// four-byte backend ids share one.
pub const SLOTS_PER_ELEMENT: u32 = 2;

map_type! {
    /// Key of `frontends_v4` and `frontends_v6`.
    ///
    /// Port 0 with protocol 0 is the row of the address itself: it says that the address is a VIP, so that a packet to one of
    /// its unknown ports can be refused (S-30 c), and whether a ping of it is answered (S-31).
    pub struct FrontendKey<A> {
        address: A,
        port: u16,
        protocol: u8,
        reserved: u8,
    }
}

impl<A: Address> FrontendKey<A> {
    /// The key of an address, port and protocol.
    #[inline(always)]
    pub fn new(address: A, port: Port, protocol: Protocol) -> Self {
        Self {
            address,
            port: port.get(),
            protocol: protocol.number(),
            reserved: 0,
        }
    }

    /// The key of the address's own row.
    #[inline(always)]
    pub fn address_row(address: A) -> Self {
        Self {
            address,
            port: 0,
            protocol: 0,
            reserved: 0,
        }
    }

    /// The address.
    #[inline(always)]
    pub fn address(&self) -> A {
        self.address
    }

    /// Address and port.
    pub fn endpoint(&self) -> Endpoint<A> {
        Endpoint {
            address: self.address,
            port: Port::new(self.port),
        }
    }

    /// The protocol, or none in an address's own row.
    pub fn protocol(&self) -> Option<Protocol> {
        Protocol::from_number(self.protocol)
    }

    /// Whether this is the row of the address itself.
    pub fn is_address_row(&self) -> bool {
        self.port == 0 && self.protocol == 0
    }
}

/// A range of slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SlotRange {
    /// Index of the first slot.
    pub offset: u32,
    /// Number of slots; 0 when there is no backend.
    pub len: u32,
}

map_type! {
    /// Value of `frontends_v4` and `frontends_v6`.
    pub struct Frontend {
        service_id: u32,
        cluster_offset: u32,
        cluster_len: u32,
        local_offset: u32,
        local_len: u32,
        affinity_seconds: u32,
        flags: u32,
    }
}

impl Frontend {
    /// Flag: select from the local range only (internalTrafficPolicy Local, S-23).
    pub const LOCAL_ONLY: u32 = 1;
    /// Flag: some endpoint is usable somewhere in the cluster, so that an empty range means drop, not reject (S-30 b); in the row
    /// of an address, one of any of its ports.
    pub const HAS_ENDPOINTS: u32 = 2;
    /// Flag: the row of an address, not of a port.
    pub const ADDRESS: u32 = 4;

    /// A frontend of a service port. `affinity_seconds` is 0 where there is no session affinity.
    pub fn new(
        service_id: u32,
        cluster: SlotRange,
        local: SlotRange,
        affinity_seconds: u32,
        flags: u32,
    ) -> Self {
        Self {
            service_id,
            cluster_offset: cluster.offset,
            cluster_len: cluster.len,
            local_offset: local.offset,
            local_len: local.len,
            affinity_seconds,
            flags,
        }
    }

    /// The row that marks an address as a VIP, one of whose ports has a usable endpoint or none.
    pub fn address_row(has_endpoints: bool) -> Self {
        let flags = if has_endpoints {
            Self::ADDRESS | Self::HAS_ENDPOINTS
        } else {
            Self::ADDRESS
        };
        Self::new(0, SlotRange::default(), SlotRange::default(), 0, flags)
    }

    /// Id of the service port.
    #[inline(always)]
    pub fn service_id(&self) -> u32 {
        self.service_id
    }

    /// The range that packets to this frontend select from.
    #[inline(always)]
    pub fn range(&self) -> SlotRange {
        if self.flags & Self::LOCAL_ONLY != 0 {
            self.local()
        } else {
            self.cluster()
        }
    }

    /// The list that packets to this frontend select from, a bit of [`list`].
    #[inline(always)]
    pub fn list(&self) -> u8 {
        if self.flags & Self::LOCAL_ONLY != 0 {
            list::LOCAL
        } else {
            list::CLUSTER
        }
    }

    /// The range over the endpoints of the whole cluster.
    #[inline(always)]
    pub fn cluster(&self) -> SlotRange {
        SlotRange {
            offset: self.cluster_offset,
            len: self.cluster_len,
        }
    }

    /// The range over the endpoints of this node.
    #[inline(always)]
    pub fn local(&self) -> SlotRange {
        SlotRange {
            offset: self.local_offset,
            len: self.local_len,
        }
    }

    /// Seconds that a client stays with its backend, 0 without session affinity (S-25).
    #[inline(always)]
    pub fn affinity_seconds(&self) -> u32 {
        self.affinity_seconds
    }

    /// The flags.
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        self.flags
    }
}
