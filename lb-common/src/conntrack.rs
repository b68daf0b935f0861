//! Flows: the connections that go through a frontend, and how they are found from both sides.
//!
//! The pipeline speaks to a [`FlowTable`] and knows nothing of how flows are stored.

mod peek;
mod state;

use crate::addr::{Address, Endpoint, Port, Protocol};
use crate::frontend::FrontendKey;
use crate::layout::map_type;
pub use peek::{Peek, Peeked};
pub use state::{FlowState, Table};

/// The two ends of a packet, as a flow is looked up by it.
///
/// From the client's side `client` is the source and `peer` the frontend; from the backend's side `peer`, the source, is
/// the backend and `client` the destination.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tuple<A> {
    /// The client's end.
    pub client: Endpoint<A>,
    /// The other end: the frontend or the backend.
    pub peer: Endpoint<A>,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// From which side a conntrack entry is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Direction {
    /// The packet comes from the client; the peer is the frontend.
    FromClient = 0,
    /// The packet comes from the backend; the peer is the backend.
    FromBackend = 1,
}

map_type! {
    /// A packet's tuple and the side that it comes from: what a flow is found by, and the key of `conntrack_v4` and
    /// `conntrack_v6`.
    pub struct ConntrackKey<A> {
        pub(crate) client: A,
        pub(crate) peer: A,
        pub(crate) client_port: u16,
        pub(crate) peer_port: u16,
        pub(crate) protocol: u8,
        pub(crate) direction: u8,
        pub(crate) reserved: [u8; 2],
    }
}

impl<A: Address> ConntrackKey<A> {
    /// The key of a tuple, seen from one side.
    #[inline(always)]
    pub fn new(tuple: &Tuple<A>, direction: Direction) -> Self {
        Self {
            client: tuple.client.address,
            peer: tuple.peer.address,
            client_port: tuple.client.port.get(),
            peer_port: tuple.peer.port.get(),
            protocol: tuple.protocol.number(),
            direction: direction as u8,
            reserved: [0; 2],
        }
    }

    /// Makes this the key of a packet from a flow's client. Field by field, so that nothing goes over the stack.
    #[inline(always)]
    pub fn set_from_client(&mut self, flow: &Flow<A>) {
        self.client_port = flow.client_port;
        self.peer = flow.frontend;
        self.peer_port = flow.frontend_port;
        self.set_client(flow, Direction::FromClient);
    }

    /// Makes this the key of a packet from a flow's backend, as above.
    #[inline(always)]
    pub fn set_from_backend(&mut self, flow: &Flow<A>) {
        self.client_port = flow.source_port;
        self.peer = flow.backend;
        self.peer_port = flow.backend_port;
        self.set_client(flow, Direction::FromBackend);
    }

    #[inline(always)]
    fn set_client(&mut self, flow: &Flow<A>, direction: Direction) {
        self.client = flow.client;
        self.protocol = flow.protocol;
        self.direction = direction as u8;
        self.reserved = [0; 2];
    }

    /// No key: all zeros.
    pub fn empty() -> Self {
        Self {
            client: A::zeroed(),
            peer: A::zeroed(),
            client_port: 0,
            peer_port: 0,
            protocol: 0,
            direction: 0,
            reserved: [0; 2],
        }
    }

    /// The frontend that a packet from a client is for.
    #[inline(always)]
    pub fn frontend(&self) -> FrontendKey<A> {
        let protocol = protocol(self.protocol);
        FrontendKey::new(self.peer, Port::new(self.peer_port), protocol)
    }

    /// The client's address.
    #[inline(always)]
    pub fn client(&self) -> A {
        self.client
    }

    /// The client's port, as the sender of the packet sees it, in host order.
    #[inline(always)]
    pub fn client_port(&self) -> u16 {
        self.client_port
    }

    /// IANA's number of the protocol.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// From which side this entry is found.
    #[inline(always)]
    pub fn direction(&self) -> Direction {
        if self.direction == Direction::FromBackend as u8 {
            Direction::FromBackend
        } else {
            Direction::FromClient
        }
    }
}

#[inline(always)]
fn protocol(number: u8) -> Protocol {
    const TCP: u8 = Protocol::Tcp.number();
    const SCTP: u8 = Protocol::Sctp.number();
    match number {
        TCP => Protocol::Tcp,
        SCTP => Protocol::Sctp,
        _ => Protocol::Udp,
    }
}

map_type! {
    /// A flow: value of `conntrack_v4` and `conntrack_v6`.
    pub struct Flow<A> {
        pub(crate) client: A,
        pub(crate) frontend: A,
        pub(crate) backend: A,
        pub(crate) client_port: u16,
        pub(crate) frontend_port: u16,
        pub(crate) backend_port: u16,
        pub(crate) protocol: u8,
        pub(crate) state: u8,
        pub(crate) source_port: u16,
        pub(crate) reserved: u16,
        pub(crate) backend_id: u32,
        pub(crate) service_id: u32,
        pub(crate) epoch: u32,
        pub(crate) last_seen: u32,
        pub(crate) previous_id: u32,
    }
}

/// Seconds after which a UDP flow without packets is forgotten: what the kernel grants a stream
/// (`nf_conntrack_udp_timeout_stream`, 120).
pub(crate) const UDP_IDLE_SECONDS: u32 = 120;
/// Seconds after which a TCP connection or an SCTP association that was never answered no longer counts as live
/// (`nf_conntrack_tcp_timeout_syn_sent`, 120). SCTP waits for a minute at most before it tries again (RFC 9260 section 16).
const OPENING_SECONDS: u32 = 120;
/// Seconds after which an established SCTP association without packets no longer keeps its tuple from others
/// (`nf_conntrack_sctp_timeout_established`, 210). A live one sends a heartbeat every half minute (RFC 9260 section 16).
const SCTP_ESTABLISHED_SECONDS: u32 = 210;
/// Seconds after which an established TCP connection without packets no longer keeps its tuple from others (S-53).
const TCP_ESTABLISHED_SECONDS: u32 = 24 * 3600;

/// The backend that a flow was given to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chosen<A> {
    /// Id in the backends map.
    pub id: u32,
    /// The backend's epoch at that time.
    pub epoch: u32,
    /// The service port.
    pub service_id: u32,
    /// Where packets go.
    pub endpoint: Endpoint<A>,
}

impl<A: Address> Flow<A> {
    /// A flow that begins now. `from_client` is the tuple of its first packet, `now` a tick of the data plane's clock.
    pub fn new(from_client: &Tuple<A>, chosen: &Chosen<A>, state: FlowState, now: u32) -> Self {
        let mut flow = Self::empty();
        let key = ConntrackKey::new(from_client, Direction::FromClient);
        flow.begin(&key, state, now);
        flow.give_to(chosen);
        flow
    }

    /// No flow: all zeros.
    pub fn empty() -> Self {
        Self {
            client: A::zeroed(),
            frontend: A::zeroed(),
            backend: A::zeroed(),
            client_port: 0,
            frontend_port: 0,
            backend_port: 0,
            protocol: 0,
            state: 0,
            source_port: 0,
            reserved: 0,
            backend_id: 0,
            service_id: 0,
            epoch: 0,
            last_seen: 0,
            previous_id: 0,
        }
    }

    /// Makes this the flow of a client's first packet. Which backend it has is another matter: [`Flow::give_to`].
    #[inline(always)]
    pub fn begin(&mut self, first: &ConntrackKey<A>, state: FlowState, now: u32) {
        self.client = first.client;
        self.frontend = first.peer;
        self.client_port = first.client_port;
        self.frontend_port = first.peer_port;
        self.protocol = first.protocol;
        self.state = state.bits();
        self.source_port = first.client_port;
        self.reserved = 0;
        self.last_seen = now;
        self.previous_id = 0;
    }

    /// Sets the backend, which sees the client at its own port.
    #[inline(always)]
    pub fn give_to(&mut self, chosen: &Chosen<A>) {
        self.source_port = self.client_port;
        self.backend = chosen.endpoint.address;
        self.backend_port = chosen.endpoint.port.get();
        self.backend_id = chosen.id;
        self.service_id = chosen.service_id;
        self.epoch = chosen.epoch;
    }

    /// The client's end.
    #[inline(always)]
    pub fn client(&self) -> Endpoint<A> {
        Endpoint {
            address: self.client,
            port: Port::new(self.client_port),
        }
    }

    /// The client's port as the backend sees it: its own, unless that already speaks to the backend through another frontend.
    #[inline(always)]
    pub fn source_port(&self) -> Port {
        Port::new(self.source_port)
    }

    /// The client's end as the backend sees it.
    #[inline(always)]
    pub fn client_at_backend(&self) -> Endpoint<A> {
        Endpoint {
            address: self.client,
            port: self.source_port(),
        }
    }

    /// Lets the backend see the client at another port than its own.
    #[inline(always)]
    pub fn set_source_port(&mut self, port: Port) {
        self.source_port = port.get();
    }

    /// Whether the backend sees the client at another port than its own.
    #[inline(always)]
    pub fn has_other_source_port(&self) -> bool {
        self.source_port != self.client_port
    }

    /// The frontend that the client speaks to.
    #[inline(always)]
    pub fn frontend(&self) -> Endpoint<A> {
        Endpoint {
            address: self.frontend,
            port: Port::new(self.frontend_port),
        }
    }

    /// The backend that answers.
    #[inline(always)]
    pub fn backend(&self) -> Endpoint<A> {
        Endpoint {
            address: self.backend,
            port: Port::new(self.backend_port),
        }
    }

    /// The protocol; one that the data plane does not balance reads as UDP.
    #[inline(always)]
    pub fn protocol(&self) -> Protocol {
        protocol(self.protocol)
    }

    /// What has been seen.
    #[inline(always)]
    pub fn state(&self) -> FlowState {
        FlowState::from_bits(self.state)
    }

    /// Id of the backend.
    #[inline(always)]
    pub fn backend_id(&self) -> u32 {
        self.backend_id
    }

    /// Id of the service port.
    #[inline(always)]
    pub fn service_id(&self) -> u32 {
        self.service_id
    }

    /// The backend's epoch when it was selected.
    #[inline(always)]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Tick of the last stamp. Packets stamp at most once a second.
    #[inline(always)]
    pub fn last_seen(&self) -> u32 {
        self.last_seen
    }

    /// Seconds without packets after which the flow is nobody's.
    #[inline(always)]
    pub fn longest_silence(&self) -> u32 {
        match self.protocol() {
            Protocol::Udp => UDP_IDLE_SECONDS,
            _ if !self.state().has(FlowState::REPLIED) => OPENING_SECONDS,
            Protocol::Tcp => TCP_ESTABLISHED_SECONDS,
            Protocol::Sctp => SCTP_ESTABLISHED_SECONDS,
        }
    }

    /// Id of the backend that the flow had before this one and that never answered; 0 if there was none.
    #[inline(always)]
    pub fn previous_id(&self) -> u32 {
        self.previous_id
    }

    /// Whether another flow from the same address is the same connection: from the same port, through the same frontend.
    #[inline(always)]
    pub fn is_same_connection(&self, other: &Self) -> bool {
        self.client_port == other.client_port && self.frontend() == other.frontend()
    }

    /// Records the backend that the flow had before.
    #[inline(always)]
    pub fn leave(&mut self, backend_id: u32) {
        self.previous_id = backend_id;
    }

    /// Whether a packet of this key belongs to the flow.
    #[inline(always)]
    pub fn is_found_by(&self, key: &ConntrackKey<A>) -> bool {
        let (client_port, peer, peer_port) = match key.direction() {
            Direction::FromClient => (self.client_port, &self.frontend, self.frontend_port),
            Direction::FromBackend => (self.source_port, &self.backend, self.backend_port),
        };
        self.client == key.client
            && *peer == key.peer
            && client_port == key.client_port
            && peer_port == key.peer_port
            && self.protocol == key.protocol
    }

    /// The key of a packet from the client.
    pub fn from_client(&self) -> ConntrackKey<A> {
        let mut key = ConntrackKey::empty();
        key.set_from_client(self);
        key
    }

    /// The key of a packet from the backend.
    pub fn from_backend(&self) -> ConntrackKey<A> {
        let mut key = ConntrackKey::empty();
        key.set_from_backend(self);
        key
    }

    /// Records a packet: more state, a later stamp.
    #[inline(always)]
    pub fn see(&mut self, state: FlowState, now: u32) {
        self.state = state.bits();
        self.last_seen = now;
    }

    /// Whether a pod speaks to itself through the frontend (S-42).
    #[inline(always)]
    pub fn is_hairpin(&self) -> bool {
        self.client == self.backend
    }

    /// Whether both ends of a hairpin have one port as well: what the pod says as the client and as the backend would look
    /// alike, and so would this flow and its [mirror](Flow::mirror). A function of its own, for its stack frame.
    #[inline(never)]
    pub fn meets_itself(&self) -> bool {
        self.is_hairpin() && self.source_port == self.backend_port
    }

    /// Sets the frontend's and the client's own port to those of another flow.
    #[inline(always)]
    pub fn take_ports(&mut self, flow: &Self) {
        self.frontend_port = flow.frontend_port;
        self.client_port = flow.client_port;
    }

    /// Makes this the second flow that a hairpin needs: the same connection seen from the pod in its role as the backend, whose
    /// client, as it believes, is the frontend's address.
    ///
    /// Packets of the pod to itself would never leave it. So the backend sees the frontend's address as the client's: on
    /// the way to the pod the source is rewritten from the pod's to the frontend's address, on the way back the
    /// destination from the frontend's to the pod's. That is what a flow with the roles exchanged does.
    #[inline(always)]
    pub fn mirror(&mut self, flow: &Self) {
        self.client = flow.backend;
        self.frontend = flow.frontend;
        self.backend = flow.client;
        self.client_port = flow.backend_port;
        self.frontend_port = flow.source_port;
        self.backend_port = flow.source_port;
        self.protocol = flow.protocol;
        self.state = flow.state;
        self.source_port = flow.backend_port;
        self.reserved = 0;
        self.backend_id = flow.backend_id;
        self.service_id = flow.service_id;
        self.epoch = flow.epoch;
        self.last_seen = flow.last_seen;
        self.previous_id = flow.previous_id;
    }
}

/// Why a flow was not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableFull;

/// Where flows live. Implementations differ in speed and in what they forget first, never in meaning.
pub trait FlowTable<A: Address> {
    /// Copies the flow of a packet to `into`, and returns whether it is known. What `into` holds afterwards is meaningless
    /// where it is not.
    #[must_use]
    fn find(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool;
    /// Sets the frontend's and the client's own port of `into` to those of a packet's flow, and returns whether that is known.
    /// Cheaper than the whole.
    #[must_use]
    fn find_ports(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool;
    /// Copies what a packet's flow leads to, where that is cheap to say. Of a flow that is known in this way, the port at the packet's
    /// other end stays as it is. What `into` holds is meaningless where none is known.
    #[must_use]
    fn peek(&self, key: &ConntrackKey<A>, into: &mut Peek<A>) -> Peeked;
    /// Stores a flow so that it is found from both sides, replacing what either side knew. Never half a flow.
    fn insert(&self, flow: &Flow<A>) -> Result<(), TableFull>;
    /// Writes the state and the stamp of a known flow where both sides find it. A side that was forgotten is stored again.
    /// `before` is the state that the flow was found with: with another [`FlowState::table`] it moves.
    fn update(&self, flow: &Flow<A>, before: FlowState);
    /// Forgets a flow on both sides.
    fn remove(&self, flow: &Flow<A>);
}

#[cfg(test)]
mod tests;
