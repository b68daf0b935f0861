//! The table in front of another one, which has what the table has no place for.

use super::{Absent, NoRoom};
use crate::addr::Address;
use crate::conntrack::{ConntrackKey, Flow, FlowState, FlowTable, Peek, Peeked, TableFull};

/// Where a flow was looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sought {
    /// It is in the table.
    Found,
    /// It is not, and nowhere else.
    Absent,
    /// It is not; it may be in the other table.
    Spilled,
}

/// The table in front. Each call looks at one bucket, which a client's address, port and protocol choose.
pub trait Near<A: Address> {
    /// Whether there is one.
    fn is_there(&self) -> bool;
    /// Copies the flow of a packet to `into`.
    fn find(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> Sought;
    /// Copies what a packet's flow leads to, where that is cheap to say.
    fn peek(&self, key: &ConntrackKey<A>, into: &mut Peek<A>) -> Peeked;
    /// Sets the frontend's and the client's own port of `into`.
    fn find_ports(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> Sought;
    /// Stores a flow, and says whether the other table may have it as well.
    fn insert(&self, flow: &Flow<A>) -> Result<bool, NoRoom>;
    /// Adds the state and the stamp of `flow` to its entry.
    fn update(&self, flow: &Flow<A>) -> Result<(), Absent>;
    /// Forgets a flow, and says whether the other table may have it.
    fn remove(&self, flow: &Flow<A>) -> bool;
    /// Notes that the other table has a flow of the bucket of a client's port.
    fn spill(&self, flow: &Flow<A>, client_port: u16);
}

/// Both tables as one. Flows whose source port is translated are in the other one, for they would belong to two buckets.
#[derive(Clone, Copy, Debug)]
pub struct Tiered<N, F> {
    /// The table in front.
    pub near: N,
    /// The other one.
    pub far: F,
}

impl<A: Address, N: Near<A>, F: FlowTable<A>> FlowTable<A> for Tiered<N, F> {
    #[inline(always)]
    fn find(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool {
        if self.near.is_there() {
            match self.near.find(key, into) {
                Sought::Found => return true,
                Sought::Absent => return false,
                Sought::Spilled => {}
            }
        }
        self.far.find(key, into)
    }

    #[inline(always)]
    fn find_ports(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool {
        if self.near.is_there() {
            match self.near.find_ports(key, into) {
                Sought::Found => return true,
                Sought::Absent => return false,
                Sought::Spilled => {}
            }
        }
        self.far.find_ports(key, into)
    }

    #[inline(always)]
    fn peek(&self, key: &ConntrackKey<A>, into: &mut Peek<A>) -> Peeked {
        if self.near.is_there() {
            self.near.peek(key, into)
        } else {
            Peeked::Unsaid
        }
    }

    #[inline(always)]
    fn insert(&self, flow: &Flow<A>) -> Result<(), TableFull> {
        if self.near.is_there() {
            if !flow.has_other_source_port() {
                if let Ok(spilled) = self.near.insert(flow) {
                    if spilled {
                        self.far.remove(flow);
                    }
                    return Ok(());
                }
            } else {
                self.near.spill(flow, flow.source_port);
            }
            self.near.spill(flow, flow.client_port);
        }
        self.far.insert(flow)
    }

    #[inline(always)]
    fn update(&self, flow: &Flow<A>, before: FlowState) {
        if self.near.is_there() && self.near.update(flow).is_ok() {
            return;
        }
        // What is in no table any more is stored in the far one, which holds it for either side.
        if self.near.is_there() {
            self.near.spill(flow, flow.client_port);
            self.near.spill(flow, flow.source_port);
        }
        self.far.update(flow, before);
    }

    #[inline(always)]
    fn remove(&self, flow: &Flow<A>) {
        if !self.near.is_there() || self.near.remove(flow) {
            self.far.remove(flow);
        }
    }
}
