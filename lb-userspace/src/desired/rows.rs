//! Rows of the maps by their keys, and the set of keys where something may have changed.

use std::sync::Arc;

use lb_common::frontend::Frontend;
use lb_common::service::ServiceName;

use crate::hashed::{HashMap, HashSet};
use crate::maps::{BackendKey, BackendRow, FrontendAt};

/// Rows of the maps that have rows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rows {
    /// Frontends of both families, addresses' own rows among them.
    pub frontends: HashMap<FrontendAt, Frontend>,
    /// Backends of both families.
    pub backends: HashMap<BackendKey, BackendRow>,
    /// Names of service ports, shared with whoever else has them: they are the longest rows.
    pub services: HashMap<u32, Arc<ServiceName>>,
}

/// Keys whose rows may differ between desired and actual.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Touched {
    /// Keys of frontends.
    pub frontends: HashSet<FrontendAt>,
    /// Keys of backends.
    pub backends: HashSet<BackendKey>,
    /// Service ids.
    pub services: HashSet<u32>,
}

impl Touched {
    /// Adds other keys.
    pub fn extend(&mut self, other: Self) {
        self.frontends.extend(other.frontends);
        self.backends.extend(other.backends);
        self.services.extend(other.services);
    }
}
