//! A service port that has its ids, backends and tables, and the rows that follow from them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::backend::BackendState;
use lb_common::frontend::Frontend;
use lb_common::service::ServiceName;

use super::table::{Scope, Table};
use crate::few::Few;
use crate::maps::{BackendKey, BackendRow, FrontendAt};
use crate::model::{Family, ServicePortName};

/// The service ports of one Service.
pub type PlacedPorts = Few<ServicePortName, PlacedPort>;

/// A service port that has a place in the maps.
#[derive(Clone, Debug)]
pub struct PlacedPort {
    /// Service id.
    pub id: u32,
    /// Row of `services`.
    pub name: Arc<ServiceName>,
    /// The frontends that it has won.
    pub frontends: Few<FrontendAt, ()>,
    /// Its backends.
    pub backends: Few<SocketAddr, PlacedBackend>,
    /// Its tables, by family and scope.
    pub tables: [[Table; 2]; 2],
    /// Select from the endpoints of this node alone.
    pub internal_local: bool,
    /// Some endpoint is usable somewhere, by family.
    pub has_endpoints: [bool; 2],
    /// Session affinity timeout in seconds.
    pub affinity_seconds: u32,
}

/// A backend that has an id.
#[derive(Clone, Copy, Debug)]
pub struct PlacedBackend {
    /// Where its row is.
    pub key: BackendKey,
    /// Its epoch.
    pub epoch: u32,
    /// Its state.
    pub state: BackendState,
    /// The lists that new connections are sent to it from, a set of the bits in [`lb_common::backend::list`].
    pub lists: u8,
}

impl PlacedPort {
    /// The row of its frontends of one family.
    pub fn frontend_row(&self, family: Family) -> Frontend {
        let [cluster, local] = &self.tables[family as usize];
        let mut flags = 0;
        if self.internal_local {
            flags |= Frontend::LOCAL_ONLY;
        }
        if self.has_endpoints[family as usize] {
            flags |= Frontend::HAS_ENDPOINTS;
        }
        Frontend::new(
            self.id,
            cluster.range(),
            local.range(),
            self.affinity_seconds,
            flags,
        )
    }

    /// The rows of its backends.
    pub fn backend_rows(&self) -> impl Iterator<Item = (BackendKey, BackendRow)> + '_ {
        self.backends.iter().map(|(at, b)| {
            let row = BackendRow::new(*at, b.state, b.epoch, self.id);
            (b.key, row.listed(b.lists))
        })
    }

    /// A table.
    pub fn table(&self, family: Family, scope: Scope) -> &Table {
        &self.tables[family as usize][scope as usize]
    }

    /// The tables that have slots.
    pub fn used_tables(&self) -> impl Iterator<Item = &Table> {
        self.tables
            .iter()
            .flatten()
            .filter(|table| !table.is_empty())
    }

    /// The addresses that new connections may be sent to.
    pub fn selected(&self) -> impl Iterator<Item = &SocketAddr> {
        let members: BTreeSet<u32> = self
            .used_tables()
            .flat_map(|t| t.members.iter().copied())
            .collect();
        self.backends
            .iter()
            .filter(move |(_, backend)| members.contains(&backend.key.id))
            .map(|(at, _)| at)
    }
}
