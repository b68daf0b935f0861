//! Connected UDP sockets whose backend is gone. The kernel sends their datagrams to the address that it was given at
//! `connect` and asks nobody again, so they are ended: the process is told (`ECONNABORTED`), connects again and gets a
//! backend that lives (S-51).
//!
//! Only sockets of the calling thread's network namespace are looked at; those of others keep to the VIP.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
};

use lb_common::addr::{Endpoint, Port, Protocol};
use lb_common::backend::Backend;
use lb_common::layout::name;
use lb_common::socket::{Mapped, SocketKey, SocketPeer, unmapped};
use nix::libc;
use tracing::{debug, info, warn};

use crate::datapath::{
    bpf::RawMap,
    pins::{self, PinError, PinPaths},
};
use crate::netlink::{Message, Received, Socket};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// TCP_ESTABLISHED, which is also said of a connected UDP socket.
const CONNECTED: u32 = 1 << 1;
/// Size of `struct inet_diag_sockid`.
const ID: usize = 48;
/// Where it begins in `struct inet_diag_msg`.
const ID_AT: usize = 4;

/// Ends them.
#[derive(Debug)]
pub struct StaleSockets {
    peers: OwnedFd,
    backends_v4: OwnedFd,
    backends_v6: OwnedFd,
    /// What was known of the connected sockets: an entry of a long-lived one may be displaced by those of others.
    known: HashMap<SocketKey, SocketPeer>,
    /// Whether it was told that this kernel can't end sockets.
    told: bool,
}

impl StaleSockets {
    /// Opens the pinned maps that tell.
    ///
    /// # Errors
    /// If one is not there.
    pub(super) fn open(paths: &PinPaths) -> Result<Self, PinError> {
        let map = |name| {
            let path = paths.map(name);
            let missing = || PinError::new("open the pin", &path, io::ErrorKind::NotFound.into());
            pins::open_map(&path)?.ok_or_else(missing)
        };
        Ok(Self {
            peers: map(name::SOCKET_PEERS)?,
            backends_v4: map(name::BACKENDS_V4)?,
            backends_v6: map(name::BACKENDS_V6)?,
            known: HashMap::new(),
            told: false,
        })
    }

    /// Ends every socket that is connected to a backend which is gone. What the kernel refuses is told and tried again the
    /// next time.
    pub fn end(&mut self) {
        match self.try_to_end() {
            Ok(0) => {}
            Ok(sockets) => info!(
                sockets,
                "ended UDP sockets that were connected to backends which are gone"
            ),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                if !self.told {
                    warn!(
                        "this kernel can't end sockets (CONFIG_INET_DIAG_DESTROY): the node's own processes must themselves \
                         connect a UDP socket again whose backend is gone"
                    );
                }
                self.told = true;
            }
            Err(error) => warn!(%error, "cannot end UDP sockets whose backend is gone"),
        }
    }

    fn try_to_end(&mut self) -> io::Result<usize> {
        let netlink = Socket::open_diagnosis()?;
        let peers = RawMap::new(self.peers.as_fd())?;
        let mut known = HashMap::new();
        let mut stale = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            for socket in netlink.dump(|| connected_udp(family), Connected::read)? {
                let key = socket.key();
                let entry = peers.lookup(bytemuck::bytes_of(&key))?;
                let entry = entry.and_then(|bytes| bytemuck::try_pod_read_unaligned(&bytes).ok());
                let Some(peer) = entry.or_else(|| self.known.get(&key).copied()) else {
                    continue;
                };
                if self.is_stale(&key, &peer)? {
                    stale.push(socket);
                } else {
                    known.insert(key, peer);
                }
            }
        }
        self.known = known;
        let mut ended = 0;
        for socket in stale {
            debug!(?socket, "ends a UDP socket whose backend is gone");
            match netlink.request(socket.destroy(), |_| {}) {
                Ok(()) => ended += 1,
                // Its process was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    }

    fn is_stale(&self, key: &SocketKey, peer: &SocketPeer) -> io::Result<bool> {
        let epoch = match unmapped(&key.backend().address) {
            Some(_) => epoch::<[u8; 4]>(&self.backends_v4, peer.backend_id())?,
            None => epoch::<[u8; 16]>(&self.backends_v6, peer.backend_id())?,
        };
        Ok(peer.is_stale(epoch))
    }
}

/// The epoch of the backend that has an id.
fn epoch<A: Mapped>(backends: &OwnedFd, id: u32) -> io::Result<Option<u32>> {
    let row = RawMap::new(backends.as_fd())?.lookup(&id.to_ne_bytes())?;
    let row = row.and_then(|bytes| Backend::<A>::from_octets(&bytes));
    Ok(row.map(|backend| backend.epoch()))
}

/// A connected UDP socket, as the kernel names it.
#[derive(Clone, Copy, Debug)]
struct Connected {
    family: u8,
    id: [u8; ID],
}

impl Connected {
    fn read(message: Received<'_>) -> Option<Self> {
        let id = message.payload.get(ID_AT..ID_AT + ID)?;
        Some(Self {
            family: message.u8(0)?,
            id: id.try_into().ok()?,
        })
    }

    /// The entry that tells what its process asked for.
    fn key(&self) -> SocketKey {
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| self.id[at + i]));
        let address = &self.id[20..36];
        let address = if i32::from(self.family) == libc::AF_INET {
            [0, 1, 2, 3].map(|i| address[i]).to_mapped()
        } else {
            std::array::from_fn(|i| address[i])
        };
        let peer = Endpoint {
            address,
            port: Port::from_network([self.id[2], self.id[3]]),
        };
        let cookie = u64::from(word(40)) | u64::from(word(44)) << 32;
        SocketKey::new(cookie, Protocol::Udp, &peer)
    }

    fn destroy(&self) -> Message {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        Message::new(SOCK_DESTROY, flags, &request(self.family, 0, &self.id))
    }
}

/// Asks for all connected UDP sockets of a family.
fn connected_udp(family: i32) -> Message {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    let fixed = request(family as u8, CONNECTED, &[0; ID]);
    Message::new(SOCK_DIAG_BY_FAMILY, flags, &fixed)
}

/// `struct inet_diag_req_v2`.
fn request(family: u8, states: u32, id: &[u8; ID]) -> Vec<u8> {
    let mut fixed = vec![family, Protocol::Udp.number(), 0, 0];
    fixed.extend_from_slice(&states.to_ne_bytes());
    fixed.extend_from_slice(id);
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_name_of_a_socket_gives_the_key_of_its_entry() {
        let mut id = [0; ID];
        id[2..4].copy_from_slice(&53u16.to_be_bytes());
        id[20..24].copy_from_slice(&[10, 244, 1, 2]);
        id[40..44].copy_from_slice(&7u32.to_ne_bytes());
        id[44..48].copy_from_slice(&1u32.to_ne_bytes());
        let peer = Endpoint {
            address: [10, 244, 1, 2],
            port: Port::new(53),
        };
        let expected = SocketKey::new(7 | 1 << 32, Protocol::Udp, &peer);
        let family = libc::AF_INET as u8;
        assert_eq!(Connected { family, id }.key(), expected);
        // The same other end, of a socket of IPv6.
        id[20..36].copy_from_slice(&[10, 244, 1, 2].to_mapped());
        let family = libc::AF_INET6 as u8;
        assert_eq!(Connected { family, id }.key(), expected);
    }
}
