//! The maps as the code above sees them: rows to read, operations to write.
//!
//! Two implementations mean the same: [`memory`] for tests, [`bpf`] over pinned BPF maps. Neither knows what a Service
//! is, or in which order operations are safe: that is [`crate::delta`]'s knowledge.

pub mod bpf;
pub mod create;
pub mod error;
pub mod memory;
pub mod row;
pub mod spec;

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use lb_common::affinity::Affinity;
use lb_common::config::Config;
use lb_common::frontend::Frontend;
use lb_common::service::ServiceName;
use lb_common::socket::SocketPeer;

use crate::model::{Cidr, Family};
pub use error::MapError;
pub use row::{AffinityRow, BackendKey, BackendRow, FlowRow, FrontendAt};
pub use spec::{LimitError, Limits, Shape};

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Deletes a frontend.
    DeleteFrontend(FrontendAt),
    /// Sets a bit of `vip_filter`.
    SetVipBit(u32),
    /// Clears a bit of `vip_filter`.
    ClearVipBit(u32),
    /// Inserts or replaces a backend.
    PutBackend(u32, BackendRow),
    /// Writes backend ids into consecutive slots.
    WriteSlots {
        /// Index of the first slot.
        offset: u32,
        /// The ids.
        ids: Arc<[u32]>,
    },
    /// Inserts or replaces a service port's name.
    PutService(u32, Arc<ServiceName>),
    /// Inserts or replaces a frontend.
    PutFrontend(FrontendAt, Frontend),
    /// Deletes a backend.
    DeleteBackend(BackendKey),
    /// Deletes a service port's name.
    DeleteService(u32),
    /// Inserts an address that a Service has and that is not served.
    PutUnserved(IpAddr),
    /// Deletes one.
    DeleteUnserved(IpAddr),
    /// Writes the Service CIDRs of a family, which there must be room for.
    PutServiceCidrs(Family, Vec<Cidr>),
    /// Writes the one element of `config`.
    PutConfig(Config),
}

/// Whether a walk over a map that others write meanwhile has shown every entry that was there all the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Walk {
    /// It has.
    Complete,
    /// It was given up: entries came and went too fast.
    Incomplete,
}

impl Walk {
    /// Both walks together.
    pub fn and(self, other: Self) -> Self {
        match self {
            Self::Complete => other,
            Self::Incomplete => self,
        }
    }
}

/// All maps of one data plane.
///
/// Reads return rows in no particular order. Deleting a row that does not exist succeeds.
pub trait Maps {
    /// All frontends.
    fn frontends(&self) -> Result<Vec<(FrontendAt, Frontend)>, MapError>;
    /// All backends, by id.
    fn backends(&self) -> Result<Vec<(u32, BackendRow)>, MapError>;
    /// All names of service ports, by service id.
    fn services(&self) -> Result<Vec<(u32, ServiceName)>, MapError>;
    /// The backend ids in a range of slots.
    fn slots(&self, range: Range<u32>) -> Result<Vec<u32>, MapError>;
    /// The words of `vip_filter`.
    fn vip_filter(&self) -> Result<Vec<u64>, MapError>;
    /// The addresses that a Service has and that are not served.
    fn unserved(&self) -> Result<Vec<IpAddr>, MapError>;
    /// The Service CIDRs of both families.
    fn service_cidrs(&self) -> Result<Vec<Cidr>, MapError>;
    /// The element of `config`.
    fn config(&self) -> Result<Config, MapError>;
    /// Shows every flow of the table that is looked at first to `visit`, as [`Maps::conntrack`] shows its entries, but each once, from
    /// the client's side.
    fn flow_table(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError>;
    /// Shows every entry of a flow that is assured and not over, and that has no place in the flow table, once to `visit`. The data plane goes on writing: entries made
    /// or deleted meanwhile may or may not be shown. What an incomplete walk has not shown may exist all the same.
    fn conntrack(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError>;
    /// Shows the entries of all other flows to `visit`, as [`Maps::conntrack`] shows its own; among them are copies, as old as their
    /// stamps, of flows that are in conntrack by now.
    fn transient(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError>;
    /// Shows all flows: what the flow table has of one comes first, then conntrack's entries, and an older copy of it last.
    fn flows(&self, visit: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        let table = self.flow_table(visit)?;
        let conntrack = self.conntrack(visit)?;
        Ok(table.and(conntrack).and(self.transient(visit)?))
    }
    /// Shows every client that stays with a backend to `visit`, as [`Maps::conntrack`] shows its entries.
    fn affinity(&self, visit: &mut dyn FnMut(AffinityRow)) -> Result<Walk, MapError>;
    /// Shows what is remembered of every socket to `visit`, as [`Maps::conntrack`] shows its entries.
    fn socket_peers(&self, visit: &mut dyn FnMut(SocketPeer)) -> Result<Walk, MapError>;
    /// Shows the backend of the sockets of every network namespace and service port to `visit`, likewise.
    fn socket_affinity(&self, visit: &mut dyn FnMut(Affinity)) -> Result<Walk, MapError>;
    /// The counters, summed over all CPUs, by the number of their reason.
    fn counters(&self) -> Result<Vec<u64>, MapError>;
    /// How many entries of LRU maps were made and removed, by the numbers of [`lb_common::entries`].
    fn lru_entries(&self) -> Result<Vec<u64>, MapError>;
    /// How many entries there is room for.
    fn limits(&self) -> Limits;
    /// Does the operations in their order, each whether or not those before it succeeded; one result for each.
    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), MapError>>;
}
