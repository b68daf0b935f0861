//! Rows of the maps of both families in one type each, so that the code above has no copy for IPv4 and one for IPv6.
//!
//! The types wrap the map's own structs, reserved bytes included: whatever stands in a map, written by us or not, can be
//! compared, named and deleted.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::addr::{Address, Endpoint, Port, Protocol};
use lb_common::affinity::{Affinity, AffinityKey};
use lb_common::backend::{Backend, BackendState};
use lb_common::conntrack::{ConntrackKey, Direction, Flow};
use lb_common::frontend::FrontendKey;
use lb_common::vip_filter;

use crate::model::Family;

/// Octets of an IPv4 address.
pub type V4 = [u8; 4];
/// Octets of an IPv6 address.
pub type V6 = [u8; 16];

/// Key of a frontend of either family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrontendAt {
    /// Key of `frontends_v4`.
    V4(FrontendKey<V4>),
    /// Key of `frontends_v6`.
    V6(FrontendKey<V6>),
}

impl FrontendAt {
    /// The key of an address, port and protocol.
    pub fn new(at: SocketAddr, protocol: Protocol) -> Self {
        let port = Port::new(at.port());
        match at.ip() {
            IpAddr::V4(ip) => Self::V4(FrontendKey::new(ip.octets(), port, protocol)),
            IpAddr::V6(ip) => Self::V6(FrontendKey::new(ip.octets(), port, protocol)),
        }
    }

    /// The key of an address's own row.
    pub fn address_row(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(ip) => Self::V4(FrontendKey::address_row(ip.octets())),
            IpAddr::V6(ip) => Self::V6(FrontendKey::address_row(ip.octets())),
        }
    }

    /// Address and port; the port is 0 in an address's own row.
    pub fn socket(&self) -> SocketAddr {
        match self {
            Self::V4(key) => socket_v4(key.endpoint()),
            Self::V6(key) => socket_v6(key.endpoint()),
        }
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        self.socket().ip()
    }

    /// The protocol, or none in an address's own row.
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::V4(key) => key.protocol(),
            Self::V6(key) => key.protocol(),
        }
    }

    /// Whether this is the row of the address itself.
    pub fn is_address_row(&self) -> bool {
        match self {
            Self::V4(key) => key.is_address_row(),
            Self::V6(key) => key.is_address_row(),
        }
    }

    /// The family.
    pub fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }
}

impl Hash for FrontendAt {
    /// All octets at once: no two keys of different families have as many.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::V4(key) => state.write(bytemuck::bytes_of(key)),
            Self::V6(key) => state.write(bytemuck::bytes_of(key)),
        }
    }
}

impl Ord for FrontendAt {
    /// By address, then port, then the number of the protocol; an address's own row comes before its ports.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::V4(one), Self::V4(other)) => order(one).cmp(&order(other)),
            (Self::V6(one), Self::V6(other)) => order(one).cmp(&order(other)),
            (Self::V4(_), Self::V6(_)) => Ordering::Less,
            (Self::V6(_), Self::V4(_)) => Ordering::Greater,
        }
    }
}

/// The octets come last: where address and port are the same, what differs is the protocol, or what nobody should have written.
fn order<A: Address + Ord>(key: &FrontendKey<A>) -> (A, u16, &[u8])
where
    FrontendKey<A>: bytemuck::Pod,
{
    (
        key.address(),
        key.endpoint().port.get(),
        bytemuck::bytes_of(key),
    )
}

impl PartialOrd for FrontendAt {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FrontendAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_address_row() {
            return write!(f, "{}", self.address());
        }
        let protocol = self.protocol().map_or("?", Protocol::name);
        write!(f, "{}/{protocol}", self.socket())
    }
}

/// Key of a backend: the families have a map each, so an id alone does not say where the row is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BackendKey {
    /// Which map.
    pub family: Family,
    /// The id.
    pub id: u32,
}

/// A backend of either family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BackendRow {
    /// Value of `backends_v4`.
    V4(Backend<V4>),
    /// Value of `backends_v6`.
    V6(Backend<V6>),
}

impl BackendRow {
    /// A backend; see [`Backend::new`].
    pub fn new(at: SocketAddr, state: BackendState, epoch: u32, service_id: u32) -> Self {
        let port = Port::new(at.port());
        match at.ip() {
            IpAddr::V4(ip) => {
                let address = ip.octets();
                Self::V4(Backend::new(
                    Endpoint { address, port },
                    state,
                    epoch,
                    service_id,
                ))
            }
            IpAddr::V6(ip) => {
                let address = ip.octets();
                Self::V6(Backend::new(
                    Endpoint { address, port },
                    state,
                    epoch,
                    service_id,
                ))
            }
        }
    }

    /// The same backend in these lists, a set of the bits in [`lb_common::backend::list`].
    pub fn listed(self, lists: u8) -> Self {
        match self {
            Self::V4(row) => Self::V4(row.listed(lists)),
            Self::V6(row) => Self::V6(row.listed(lists)),
        }
    }

    /// Whether it is in one of these lists.
    pub fn is_listed(&self, lists: u8) -> bool {
        match self {
            Self::V4(row) => row.is_listed(lists),
            Self::V6(row) => row.is_listed(lists),
        }
    }

    /// The key of this row under an id.
    pub fn key(&self, id: u32) -> BackendKey {
        let family = match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        };
        BackendKey { family, id }
    }

    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        match self {
            Self::V4(row) => socket_v4(row.endpoint()),
            Self::V6(row) => socket_v6(row.endpoint()),
        }
    }

    /// The state.
    pub fn state(&self) -> BackendState {
        match self {
            Self::V4(row) => row.state(),
            Self::V6(row) => row.state(),
        }
    }

    /// The epoch.
    pub fn epoch(&self) -> u32 {
        match self {
            Self::V4(row) => row.epoch(),
            Self::V6(row) => row.epoch(),
        }
    }

    /// Id of the service port that it serves.
    pub fn service_id(&self) -> u32 {
        match self {
            Self::V4(row) => row.service_id(),
            Self::V6(row) => row.service_id(),
        }
    }
}

/// A conntrack entry, as a reader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowRow {
    /// From which side this entry is found.
    pub direction: Direction,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The client's end.
    pub client: SocketAddr,
    /// The frontend that the client speaks to.
    pub frontend: SocketAddr,
    /// The client's port as the backend sees it.
    pub source_port: u16,
    /// The backend that answers.
    pub backend: SocketAddr,
    /// What has been seen, in a word.
    pub state: &'static str,
    /// Id of the backend.
    pub backend_id: u32,
    /// The backend's epoch when it was selected.
    pub epoch: u32,
    /// Id of the service port.
    pub service_id: u32,
    /// Tick of the data plane's clock (jiffies) of the last stamp.
    pub last_seen: u32,
    /// Seconds without packets after which the flow is nobody's.
    pub longest_silence: u32,
}

impl FlowRow {
    /// The entry of `conntrack_v4`.
    pub fn v4(key: &ConntrackKey<V4>, flow: &Flow<V4>) -> Self {
        Self::new(key.direction(), flow, socket_v4)
    }

    /// The entry of `conntrack_v6`.
    pub fn v6(key: &ConntrackKey<V6>, flow: &Flow<V6>) -> Self {
        Self::new(key.direction(), flow, socket_v6)
    }

    fn new<A: Address>(
        direction: Direction,
        flow: &Flow<A>,
        socket: fn(Endpoint<A>) -> SocketAddr,
    ) -> Self {
        Self {
            direction,
            protocol: flow.protocol(),
            client: socket(flow.client()),
            frontend: socket(flow.frontend()),
            source_port: flow.source_port().get(),
            backend: socket(flow.backend()),
            state: flow.state().name(),
            backend_id: flow.backend_id(),
            epoch: flow.epoch(),
            service_id: flow.service_id(),
            last_seen: flow.last_seen(),
            longest_silence: flow.longest_silence(),
        }
    }
}

/// A client that stays with its backend (S-25).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AffinityRow {
    /// The client.
    pub client: IpAddr,
    /// Id of the service port.
    pub service_id: u32,
    /// Id of the backend.
    pub backend_id: u32,
    /// The backend's epoch when the client was given it.
    pub epoch: u32,
    /// Tick of the data plane's clock (jiffies) of the client's last new connection.
    pub last: u32,
}

impl AffinityRow {
    /// The entry of `affinity_v4` or `affinity_v6`.
    pub fn new<A: Address + Into<IpAddr>>(key: &AffinityKey<A>, affinity: &Affinity) -> Self {
        Self {
            client: key.client().into(),
            service_id: key.service_id(),
            backend_id: affinity.backend_id,
            epoch: affinity.epoch,
            last: affinity.last,
        }
    }
}

/// The bit of an address in `vip_filter`.
pub fn vip_bit(address: &IpAddr) -> u32 {
    match address {
        IpAddr::V4(ip) => vip_filter::bit(&ip.octets()),
        IpAddr::V6(ip) => vip_filter::bit(&ip.octets()),
    }
}

fn socket_v4(endpoint: Endpoint<V4>) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(endpoint.address), endpoint.port.get()))
}

fn socket_v6(endpoint: Endpoint<V6>) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::from(endpoint.address), endpoint.port.get()))
}
