//! The service ports, one line for each frontend.

use std::fmt;
use std::net::SocketAddr;

use lb_common::addr::Protocol;
use lb_common::frontend::{Frontend, SlotRange};
use serde::Serialize;

use super::columns;
use super::names::Names;
use crate::maps::{MapError, Maps};

/// All frontends with their service ports.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
#[serde(transparent)]
pub struct Services(pub Vec<ServiceView>);

/// A frontend with its service port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
pub struct ServiceView {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Name of the port, empty where it has none.
    pub port_name: String,
    /// Protocol.
    pub protocol: &'static str,
    /// Address and port that clients use.
    pub frontend: SocketAddr,
    /// Backends that are selected from where the whole cluster's are.
    pub cluster_backends: u32,
    /// Backends that are selected from where this node's are.
    pub local_backends: u32,
    /// Seconds for which a client stays with its backend after its last new connection, 0 without session affinity (S-25).
    pub affinity_seconds: u32,
    /// `Local` where only this node's backends are selected, else `Cluster`.
    pub policy: &'static str,
    /// Service id.
    pub id: u32,
}

/// Reads the frontends.
pub fn services(maps: &dyn Maps) -> Result<Services, MapError> {
    let names = Names::read(maps)?;
    let mut rows = maps
        .frontends()?
        .into_iter()
        .filter(|(at, _)| !at.is_address_row())
        .map(|(at, row)| {
            let name = names.get(row.service_id());
            Ok(ServiceView {
                namespace: name.map_or("?", |name| name.namespace()).to_owned(),
                name: name.map_or("?", |name| name.name()).to_owned(),
                port_name: name.map_or("?", |name| name.port_name()).to_owned(),
                protocol: at.protocol().map_or("?", Protocol::name),
                frontend: at.socket(),
                cluster_backends: backends(maps, row.cluster())?,
                local_backends: backends(maps, row.local())?,
                affinity_seconds: row.affinity_seconds(),
                policy: policy(&row),
                id: row.service_id(),
            })
        })
        .collect::<Result<Vec<_>, MapError>>()?;
    rows.sort();
    Ok(Services(rows))
}

/// How many backends are in a range of slots.
fn backends(maps: &dyn Maps, range: SlotRange) -> Result<u32, MapError> {
    // Rows that an agent has yet to write again may name slots of a larger map.
    let most = maps.limits().slots;
    let [start, end] = [range.offset, range.offset.saturating_add(range.len)];
    let mut ids = maps.slots(start.min(most)..end.min(most))?;
    ids.sort_unstable();
    ids.dedup();
    // A slot that nobody has filled.
    ids.retain(|id| *id != 0);
    Ok(ids.len() as u32)
}

/// The name of a frontend's traffic policy.
pub fn policy(row: &Frontend) -> &'static str {
    if row.flags() & Frontend::LOCAL_ONLY != 0 {
        "Local"
    } else {
        "Cluster"
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "SERVICE", "PORT", "PROTOCOL", "FRONTEND", "CLUSTER", "LOCAL", "AFFINITY", "POLICY",
            "ID",
        ];
        let rows = self.0.iter().map(|row| {
            let affinity = match row.affinity_seconds {
                0 => "-".to_owned(),
                seconds => format!("{seconds}s"),
            };
            let port_name = if row.port_name.is_empty() {
                "-"
            } else {
                &row.port_name
            };
            [
                format!("{}/{}", row.namespace, row.name),
                port_name.to_owned(),
                row.protocol.to_owned(),
                row.frontend.to_string(),
                row.cluster_backends.to_string(),
                row.local_backends.to_string(),
                affinity,
                row.policy.to_owned(),
                row.id.to_string(),
            ]
        });
        columns::write(f, head, rows)
    }
}
