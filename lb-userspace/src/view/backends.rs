//! The backends, with their share of the slots.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;

use lb_common::backend::BackendState;
use serde::Serialize;

use super::columns;
use super::names::Names;
use crate::maps::{MapError, Maps};

/// All backends.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(transparent)]
pub struct Backends(pub Vec<BackendView>);

/// A backend.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
pub struct BackendView {
    /// The service port that it serves, as `namespace/name:port/PROTOCOL`.
    pub service: String,
    /// Address and port.
    pub address: SocketAddr,
    /// `active` or `terminating`.
    pub state: &'static str,
    /// Differs for each use of an id.
    pub epoch: u32,
    /// Backend id.
    pub id: u32,
    /// Slots that lead to it, of the table that new connections select from.
    pub slots: u32,
    /// Slots of that table.
    pub table_slots: u32,
}

/// Reads the backends.
pub fn backends(maps: &dyn Maps) -> Result<Backends, MapError> {
    let names = Names::read(maps)?;
    let mut tables: HashMap<(u32, bool), u32> = HashMap::new();
    let mut shares: HashMap<(bool, u32), u32> = HashMap::new();
    let mut counted = HashSet::new();
    for (at, row) in maps.frontends()? {
        let range = row.range();
        if range.len == 0 || !counted.insert((range.offset, range.len)) {
            continue;
        }
        let is_v6 = at.address().is_ipv6();
        tables.insert((row.service_id(), is_v6), range.len);
        for id in maps.slots(range.offset..range.offset.saturating_add(range.len))? {
            *shares.entry((is_v6, id)).or_default() += 1;
        }
    }
    let mut rows: Vec<BackendView> = maps
        .backends()?
        .into_iter()
        .map(|(id, row)| {
            let is_v6 = row.socket().is_ipv6();
            BackendView {
                service: names.text(row.service_id()),
                address: row.socket(),
                state: state(row.state()),
                epoch: row.epoch(),
                id,
                slots: shares.get(&(is_v6, id)).copied().unwrap_or(0),
                table_slots: tables.get(&(row.service_id(), is_v6)).copied().unwrap_or(0),
            }
        })
        .collect();
    rows.sort();
    Ok(Backends(rows))
}

/// The name of a state.
pub fn state(state: BackendState) -> &'static str {
    match state {
        BackendState::Active => "active",
        BackendState::Terminating => "terminating",
    }
}

impl fmt::Display for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["SERVICE", "ADDRESS", "STATE", "SLOTS", "EPOCH", "ID"];
        let rows = self.0.iter().map(|row| {
            [
                row.service.clone(),
                row.address.to_string(),
                row.state.to_owned(),
                format!("{}/{}", row.slots, row.table_slots),
                row.epoch.to_string(),
                row.id.to_string(),
            ]
        });
        columns::write(f, head, rows)
    }
}
