//! What an earlier agent left in the maps and this one goes on using: the same ids, epochs and ranges for the same
//! service ports, backends and tables, so that a restart changes nothing.
//!
//! Rows that contradict each other are not adopted. Their ids and slots stay reserved until the rows are deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use lb_common::frontend::{Frontend, SlotRange};
use lb_common::service::ServiceName;
use tracing::warn;

use super::leftovers::Leftovers;
use super::pool::{Item, Pool};
use super::rows::Rows;
use super::table::Scope;
use crate::maps::{BackendKey, FrontendAt};
use crate::model::Family;

/// Identity of a table: service id, family, scope.
pub type TableKey = (u32, Family, Scope);

/// Contents of ranges of slots, by offset and length.
pub type Contents = HashMap<(u32, u32), Vec<u32>>;

/// Identity of a backend: service id, address and port.
type BackendIdentity = (u32, SocketAddr);

/// What can be adopted, each thing once.
#[derive(Default, Debug)]
pub struct Adoptable {
    services: HashMap<ServiceName, u32>,
    backends: HashMap<BackendIdentity, (BackendKey, u32)>,
    tables: HashMap<TableKey, (u32, Vec<u32>)>,
    rest: Vec<(u32, Item)>,
}

/// Something that was adopted.
#[derive(Debug)]
pub enum Adopted {
    /// A service id.
    Service(ServiceName, u32),
    /// A backend id with its epoch.
    Backend(BackendIdentity, (BackendKey, u32)),
    /// A table with its offset and content.
    Table(TableKey, (u32, Vec<u32>)),
}

impl Adoptable {
    /// Finds what can be adopted in the rows of the maps, and reserves it in the pool together with the rest.
    pub fn find(rows: &Rows, contents: &Contents, pool: &mut Pool) -> Self {
        let mut found = Self::default();
        found.find_services(rows, pool);
        found.find_backends(rows, pool);
        found.find_tables(rows, contents, pool);
        found
    }

    /// The id of a service port.
    pub fn service(&mut self, name: &ServiceName) -> Option<Adopted> {
        self.services
            .remove(name)
            .map(|id| Adopted::Service(*name, id))
    }

    /// The id and epoch of a backend.
    pub fn backend(&mut self, service_id: u32, at: SocketAddr) -> Option<Adopted> {
        let identity = (service_id, at);
        self.backends
            .remove(&identity)
            .map(|found| Adopted::Backend(identity, found))
    }

    /// A table, if its content is this.
    pub fn table(&mut self, key: TableKey, content: &[u32]) -> Option<Adopted> {
        if self.tables.get(&key)?.1 != content {
            return None;
        }
        self.tables
            .remove(&key)
            .map(|found| Adopted::Table(key, found))
    }

    /// Takes something back.
    pub fn put_back(&mut self, adopted: Adopted) {
        match adopted {
            Adopted::Service(name, id) => {
                self.services.insert(name, id);
            }
            Adopted::Backend(identity, found) => {
                self.backends.insert(identity, found);
            }
            Adopted::Table(key, found) => {
                self.tables.insert(key, found);
            }
        }
    }

    /// Everything that nobody has adopted, with the service id that it belongs to; and the leftovers `except`, which may be
    /// adopted later.
    pub fn into_rest(mut self, except: &Leftovers) -> (Vec<(u32, Item)>, Self) {
        let kept = Self {
            services: self
                .services
                .extract_if(|_, id| except.keep(*id, &Item::Service(*id)))
                .collect(),
            backends: self
                .backends
                .extract_if(|(id, _), (key, _)| except.keep(*id, &Item::Backend(*key)))
                .collect(),
            tables: self
                .tables
                .extract_if(|(id, ..), (offset, _)| {
                    except.keep(*id, &Item::Slots(*offset..*offset))
                })
                .collect(),
            rest: self
                .rest
                .extract_if(.., |(id, item)| except.keep(*id, item))
                .collect(),
        };
        (self.into_items(), kept)
    }

    fn into_items(self) -> Vec<(u32, Item)> {
        let services = self
            .services
            .into_values()
            .map(|id| (id, Item::Service(id)));
        let backends = self
            .backends
            .into_iter()
            .map(|((service_id, _), (key, _))| (service_id, Item::Backend(key)));
        let tables = self
            .tables
            .into_iter()
            .map(|((service_id, ..), (offset, content))| {
                (
                    service_id,
                    Item::Slots(offset..offset + content.len() as u32),
                )
            });
        services
            .chain(backends)
            .chain(tables)
            .chain(self.rest)
            .collect()
    }

    fn find_services(&mut self, rows: &Rows, pool: &mut Pool) {
        for (id, name) in BTreeMap::from_iter(&rows.services) {
            if pool.reserve_service(*id) && !self.services.contains_key(&**name) {
                self.services.insert(**name, *id);
            } else {
                warn!(
                    id,
                    service = name.name(),
                    "the name of a service port is there twice or has id 0; not adopted"
                );
                self.rest.push((*id, Item::Service(*id)));
            }
        }
    }

    fn find_backends(&mut self, rows: &Rows, pool: &mut Pool) {
        let services: HashSet<u32> = self.services.values().copied().collect();
        for (key, row) in BTreeMap::from_iter(&rows.backends) {
            let identity = (row.service_id(), row.socket());
            let known = services.contains(&row.service_id());
            if pool.reserve_backend(*key) && known && !self.backends.contains_key(&identity) {
                self.backends.insert(identity, (*key, row.epoch()));
            } else {
                warn!(id = key.id, address = %row.socket(), "a backend has no service port, or is there twice; not adopted");
                self.rest.push((row.service_id(), Item::Backend(*key)));
            }
        }
    }

    fn find_tables(&mut self, rows: &Rows, contents: &Contents, pool: &mut Pool) {
        let mut seen: HashMap<(u32, u32), TableKey> = HashMap::new();
        for (at, frontend) in BTreeMap::from_iter(&rows.frontends) {
            for (key, range) in tables_of(at, frontend) {
                let place = (range.offset, range.len);
                if let Some(owner) = seen.get(&place) {
                    if *owner != key {
                        warn!(frontend = %at, "two service ports share a range of slots; not adopted");
                    }
                    continue;
                }
                seen.insert(place, key);
                let slots = range.offset..range.offset.saturating_add(range.len);
                let pieces = pool.reserve_slots(slots.clone());
                let whole = pieces == [slots];
                let content = contents
                    .get(&place)
                    .filter(|ids| whole && are_backends_of(rows, key, ids));
                match content {
                    Some(ids) if !self.tables.contains_key(&key) => {
                        self.tables.insert(key, (range.offset, ids.clone()));
                    }
                    _ => {
                        warn!(frontend = %at, "a range of slots overlaps another or names a missing backend; not adopted");
                        self.rest
                            .extend(pieces.into_iter().map(|piece| (key.0, Item::Slots(piece))));
                    }
                }
            }
        }
    }
}

fn tables_of(at: &FrontendAt, frontend: &Frontend) -> impl Iterator<Item = (TableKey, SlotRange)> {
    let (id, family) = (frontend.service_id(), at.family());
    [
        ((id, family, Scope::Cluster), frontend.cluster()),
        ((id, family, Scope::Local), frontend.local()),
    ]
    .into_iter()
    .filter(|(_, range)| range.len > 0)
}

fn are_backends_of(rows: &Rows, (service_id, family, _): TableKey, ids: &[u32]) -> bool {
    ids.iter().all(|id| {
        let row = rows.backends.get(&BackendKey { family, id: *id });
        row.is_some_and(|row| row.service_id() == service_id)
    })
}
