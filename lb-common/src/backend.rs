//! Backends: address and port of one endpoint of one service port.

use crate::addr::{Address, Endpoint, Port};
use crate::layout::map_type;

/// Whether new connections may go to a backend.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum BackendState {
    /// Selected for new connections.
    Active = 1,
    /// Serves the flows that it has, gets no new ones while an active one exists (S-22).
    Terminating = 2,
}

/// The lists that a backend may be in. Slots hold the same, but a client that stays with its backend does not look there.
pub mod list {
    /// The endpoints that are selected where those of the whole cluster are.
    pub const CLUSTER: u8 = 1;
    /// The endpoints that are selected where those of this node are.
    pub const LOCAL: u8 = 2;
}

map_type! {
    /// Value of `backends_v4` and `backends_v6`; the key is the backend's id, a `u32` that is never 0.
    pub struct Backend<A> {
        address: A,
        port: u16,
        state: u8,
        lists: u8,
        epoch: u32,
        service_id: u32,
    }
}

impl<A: Address> Backend<A> {
    /// A backend in no list. `epoch` tells two users of one id apart: it differs whenever the id is given out again.
    pub fn new(endpoint: Endpoint<A>, state: BackendState, epoch: u32, service_id: u32) -> Self {
        Self {
            address: endpoint.address,
            port: endpoint.port.get(),
            state: state as u8,
            lists: 0,
            epoch,
            service_id,
        }
    }

    /// The same backend in these lists, a set of the bits in [`list`].
    #[inline(always)]
    pub fn listed(mut self, lists: u8) -> Self {
        self.lists = lists;
        self
    }

    /// Whether new connections may go to it that choose from a list; one that serves only the flows that it has is in none.
    #[inline(always)]
    pub fn is_listed(&self, list: u8) -> bool {
        self.lists & list != 0
    }

    /// Address and port.
    #[inline(always)]
    pub fn endpoint(&self) -> Endpoint<A> {
        Endpoint {
            address: self.address,
            port: Port::new(self.port),
        }
    }

    /// The state; a number that no version wrote counts as active, for the row exists.
    #[inline(always)]
    pub fn state(&self) -> BackendState {
        if self.state == BackendState::Terminating as u8 {
            BackendState::Terminating
        } else {
            BackendState::Active
        }
    }

    /// The epoch.
    #[inline(always)]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Id of the service port that it serves.
    #[inline(always)]
    pub fn service_id(&self) -> u32 {
        self.service_id
    }
}
