//! What is remembered of a socket that was sent to a backend in place of a VIP: which frontend its process asked for.
//!
//! The key's address is the backend's, as the kernel knows it for the socket; the value is what the process is shown. Where
//! datagrams are to stay with their backend, there is a second entry with the frontend's own address as the key: it says which.
//! Addresses of both families live in one map, for a socket of IPv6 may well speak IPv4.

use crate::addr::{Address, Endpoint, Port, Protocol};
use crate::layout::map_type;

/// The first octets of an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An address that can be written in sixteen octets: an IPv4 address as the IPv4-mapped IPv6 address.
pub trait Mapped: Address {
    /// The sixteen octets, in network order.
    fn to_mapped(&self) -> [u8; 16];
    /// The address of sixteen octets that [`to_mapped`](Self::to_mapped) made.
    fn from_mapped(octets: &[u8; 16]) -> Self;
}

impl Mapped for [u8; 4] {
    #[inline(always)]
    fn to_mapped(&self) -> [u8; 16] {
        let [a, b, c, d] = *self;
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
    }

    #[inline(always)]
    fn from_mapped(octets: &[u8; 16]) -> Self {
        [octets[12], octets[13], octets[14], octets[15]]
    }
}

impl Mapped for [u8; 16] {
    #[inline(always)]
    fn to_mapped(&self) -> [u8; 16] {
        *self
    }

    #[inline(always)]
    fn from_mapped(octets: &[u8; 16]) -> Self {
        *octets
    }
}

/// The IPv4 address of an IPv4-mapped IPv6 address.
#[inline(always)]
pub fn unmapped(address: &[u8; 16]) -> Option<[u8; 4]> {
    let words: [u32; 4] = bytemuck::cast(*address);
    let prefix: [u32; 3] = bytemuck::cast(MAPPED);
    (words[0] == prefix[0] && words[1] == prefix[1] && words[2] == prefix[2])
        .then(|| words[3].to_ne_bytes())
}

map_type! {
    /// Key of `socket_peers`.
    pub struct SocketKey {
        cookie: u64,
        backend: [u8; 16],
        port: u16,
        protocol: u8,
        reserved: [u8; 5],
    }
}

impl SocketKey {
    /// The key of a socket, by the kernel's cookie for it, and of the other end that the kernel knows.
    #[inline(always)]
    pub fn new<A: Mapped>(cookie: u64, protocol: Protocol, backend: &Endpoint<A>) -> Self {
        Self {
            cookie,
            backend: backend.address.to_mapped(),
            port: backend.port.get(),
            protocol: protocol.number(),
            reserved: [0; 5],
        }
    }

    /// The kernel's cookie of the socket; no other socket gets the same one before the machine starts anew.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Address, IPv4-mapped where it is of IPv4, and port of the backend.
    pub fn backend(&self) -> Endpoint<[u8; 16]> {
        Endpoint {
            address: self.backend,
            port: Port::new(self.port),
        }
    }
}

map_type! {
    /// Value of `socket_peers`.
    pub struct SocketPeer {
        frontend: [u8; 16],
        port: u16,
        reserved: u16,
        backend_id: u32,
        epoch: u32,
        last: u32,
    }
}

impl SocketPeer {
    /// The frontend that was asked for, and the backend that was given in its place.
    #[inline(always)]
    pub fn new<A: Mapped>(frontend: &Endpoint<A>, backend_id: u32, epoch: u32) -> Self {
        Self {
            frontend: frontend.address.to_mapped(),
            port: frontend.port.get(),
            reserved: 0,
            backend_id,
            epoch,
            last: 0,
        }
    }

    /// The same, with a stamp: it is of datagrams, the last of which was sent at this tick.
    #[inline(always)]
    pub fn at(mut self, last: u32) -> Self {
        self.last = last;
        self
    }

    /// Tick of the last datagram, renewed once a second.
    #[inline(always)]
    pub fn last(&self) -> u32 {
        self.last
    }

    /// What the process is shown.
    #[inline(always)]
    pub fn frontend<A: Mapped>(&self) -> Endpoint<A> {
        Endpoint {
            address: A::from_mapped(&self.frontend),
            port: Port::new(self.port),
        }
    }

    /// Id of the backend.
    #[inline(always)]
    pub fn backend_id(&self) -> u32 {
        self.backend_id
    }

    /// The backend's epoch.
    #[inline(always)]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether the backend is gone: `epoch` is that of the backend which has the id now, if one has (S-51).
    pub fn is_stale(&self, epoch: Option<u32>) -> bool {
        epoch != Some(self.epoch)
    }
}

/// What an agent made of the node's own sockets; the number is what `config` holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum SocketLb {
    /// No agent has said.
    Unknown = 0,
    /// Sockets of the agent's network namespace are served.
    Host = 1,
    /// Sockets of all network namespaces are served.
    All = 2,
    /// A flag says that none is.
    Off = 3,
    /// There is no cgroup v2 hierarchy, or none that the agent can see the root of.
    NoCgroup = 4,
    /// The kernel does not tell which network namespace is the agent's.
    NoNamespace = 5,
    /// The kernel refuses the programs.
    Refused = 6,
    /// The programs can't be attached to the cgroup.
    NotAttached = 7,
}

impl SocketLb {
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Host,
        Self::All,
        Self::Off,
        Self::NoCgroup,
        Self::NoNamespace,
        Self::Refused,
        Self::NotAttached,
    ];

    /// What a number stands for; one that no version wrote says nothing.
    pub fn from_number(number: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|state| *state as u32 == number)
            .unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_comes_back_from_its_mapped_form_and_no_other_is_taken_for_one() {
        let address = [10, 96, 0, 1];
        assert_eq!(<[u8; 4]>::from_mapped(&address.to_mapped()), address);
        assert_eq!(unmapped(&address.to_mapped()), Some(address));
        for octet in 0..12 {
            let mut other = address.to_mapped();
            other[octet] ^= 1;
            assert_eq!(unmapped(&other), None, "octet {octet}");
        }
    }

    #[test]
    fn a_socket_is_stale_once_its_backend_is_gone_or_the_id_is_anothers() {
        let frontend = Endpoint {
            address: [10, 96, 0, 1],
            port: Port::new(53),
        };
        let peer = SocketPeer::new(&frontend, 7, 3);
        assert_eq!(peer.frontend(), frontend);
        assert!(!peer.is_stale(Some(3)));
        assert!(peer.is_stale(Some(4)));
        assert!(peer.is_stale(None));
    }
}
