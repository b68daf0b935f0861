//! Session affinity: which backend a client was given last (S-25 to S-28).

use crate::addr::Address;
use crate::layout::map_type;

map_type! {
    /// Key of `affinity_v4` and `affinity_v6`: a client and a service port, whichever of its frontends the client speaks to.
    pub struct AffinityKey<A> {
        client: A,
        service_id: u32,
    }
}

impl<A: Address> AffinityKey<A> {
    /// The key of a client's address and a service port.
    #[inline(always)]
    pub fn new(client: A, service_id: u32) -> Self {
        Self { client, service_id }
    }

    /// Makes this the key of a client's address and a service port.
    #[inline(always)]
    pub fn set(&mut self, client: A, service_id: u32) {
        self.client = client;
        self.service_id = service_id;
    }

    /// The client's address.
    pub fn client(&self) -> A {
        self.client
    }

    /// Id of the service port.
    #[inline(always)]
    pub fn service_id(&self) -> u32 {
        self.service_id
    }
}

map_type! {
    /// Key of `socket_affinity`: the client where it is a socket, which as a rule has no address yet when it needs a backend. All
    /// sockets of a network namespace are one client, as they have its addresses.
    pub struct SocketAffinityKey {
        netns: u64,
        service_id: u32,
        family: u32,
    }
}

impl SocketAffinityKey {
    /// The key of a network namespace, by the kernel's cookie for it, and a service port's endpoints of one family.
    #[inline(always)]
    pub fn new<A: Address>(netns: u64, service_id: u32) -> Self {
        Self {
            netns,
            service_id,
            family: if A::OCTETS == 4 { 4 } else { 6 },
        }
    }

    /// The kernel's cookie of the namespace; no other namespace gets the same one before the machine starts anew.
    pub fn netns(&self) -> u64 {
        self.netns
    }

    /// Id of the service port.
    #[inline(always)]
    pub fn service_id(&self) -> u32 {
        self.service_id
    }

    /// The IP version of the endpoints, 4 or 6.
    pub fn family(&self) -> u32 {
        self.family
    }
}

map_type! {
    /// Value of `affinity_v4`, `affinity_v6` and `socket_affinity`.
    pub struct Affinity {
        /// Id of the backend.
        pub backend_id: u32,
        /// The backend's epoch when the client was given it.
        pub epoch: u32,
        /// Tick of the client's last new connection.
        pub last: u32,
    }
}
