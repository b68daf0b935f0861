//! What a packet that changes nothing needs of its flow.

use super::{Direction, Flow, FlowState};
use crate::addr::{Address, Endpoint, Port};

/// What a table says of a packet's flow before it is asked for the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peeked {
    /// There is one, and this is what it leads to.
    Known,
    /// There is none.
    Unknown,
    /// Nothing: the whole flow is to be looked for.
    Unsaid,
}

/// The end that a packet of a flow gets, and what decides whether the flow would change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(4))]
pub struct Peek<A> {
    pub(crate) address: A,
    pub(crate) last_seen: u32,
    pub(crate) port: u16,
    pub(crate) state: u8,
}

impl<A: Address> Peek<A> {
    /// Nothing.
    #[inline(always)]
    pub fn empty() -> Self {
        Self {
            address: A::zeroed(),
            last_seen: 0,
            port: 0,
            state: 0,
        }
    }

    /// What the packets of one side need of a flow.
    #[inline(always)]
    pub fn of(flow: &Flow<A>, direction: Direction) -> Self {
        let to = match direction {
            Direction::FromClient => flow.backend(),
            Direction::FromBackend => flow.frontend(),
        };
        Self {
            address: to.address,
            last_seen: flow.last_seen(),
            port: to.port.get(),
            state: flow.state().bits(),
        }
    }

    /// The backend where the packet is the client's, the frontend where it is the backend's.
    #[inline(always)]
    pub fn to(&self) -> Endpoint<A> {
        Endpoint {
            address: self.address,
            port: Port::new(self.port),
        }
    }

    /// What has been seen.
    #[inline(always)]
    pub fn state(&self) -> FlowState {
        FlowState::from_bits(self.state)
    }

    /// The tick of the last stamp.
    #[inline(always)]
    pub fn last_seen(&self) -> u32 {
        self.last_seen
    }
}
