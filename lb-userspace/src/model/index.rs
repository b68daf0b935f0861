//! All objects that a source has told of, and which Services each change concerns: synchronous, without input or output.
//! It keeps what was told as it was told and resolves on demand; results are not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{
    Cidr, EndpointSlice, Families, Family, Node, ObjectName, Service, ServiceCidr, SourceEvent,
    Unread,
};
use crate::few::Few;
use crate::hashed::HashMap;
use crate::resolve::{ResolvedPort, resolve};

/// The objects of a cluster as one node sees them.
#[derive(Debug)]
pub struct Index {
    node: Node,
    services: BTreeMap<ObjectName, Arc<Service>>,
    /// By Service, then by the slice's own name.
    slices: HashMap<ObjectName, Few<ObjectName, Arc<EndpointSlice>>>,
    /// The Service that a slice was last told to belong to.
    service_of: HashMap<ObjectName, ObjectName>,
    service_cidrs: BTreeMap<ObjectName, Arc<ServiceCidr>>,
    /// All of these were told.
    service_cidrs_known: bool,
    /// Ranges that count in the place of what is told.
    given_service_cidrs: Option<BTreeSet<Cidr>>,
    /// What can't be read; none before everything else was told.
    unread: Option<Unread>,
    families: Families,
}

impl Index {
    /// An empty index for the node of this name, whose zone is unknown until its object is told.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node: Node {
                name: node_name.into(),
                zone: None,
            },
            services: BTreeMap::new(),
            slices: HashMap::default(),
            service_of: HashMap::default(),
            service_cidrs: BTreeMap::new(),
            service_cidrs_known: false,
            given_service_cidrs: None,
            unread: None,
            families: Families::Both,
        }
    }

    /// The same, but of other families nothing is known, whatever is told of them.
    pub fn with_families(mut self, families: Families) -> Self {
        self.families = families;
        self
    }

    /// The same, but the ranges that Services get their addresses from are these, if any, whatever is told of them.
    pub fn with_service_cidrs(mut self, given: Option<BTreeSet<Cidr>>) -> Self {
        self.given_service_cidrs = given;
        self
    }

    /// Takes in one event and returns, sorted, the Services whose resolution may have changed. A Service that is gone is
    /// among them; one that was never told is not, whatever slices it has.
    pub fn apply(&mut self, event: SourceEvent) -> Vec<ObjectName> {
        match event {
            SourceEvent::Service(name, service) => self.put_service(name, service),
            SourceEvent::EndpointSlice(name, slice) => self.put_slice(name, slice),
            SourceEvent::Node(node) => self.put_node(node.as_deref()),
            SourceEvent::ServiceCidr(name, Some(ranges)) => {
                self.service_cidrs.insert(name, ranges);
                Vec::new()
            }
            SourceEvent::ServiceCidr(name, None) => {
                self.service_cidrs.remove(&name);
                Vec::new()
            }
            SourceEvent::ServiceCidrsKnown => {
                self.service_cidrs_known = true;
                Vec::new()
            }
            SourceEvent::Synced(unread) => self.put_unread(unread),
            SourceEvent::Problems { .. } => Vec::new(),
        }
    }

    /// The service ports of a Service, sorted by name; none for one that does not exist.
    pub fn resolve(&self, service: &ObjectName) -> Vec<ResolvedPort> {
        let Some(object) = self.services.get(service) else {
            return Vec::new();
        };
        let slices: Vec<&EndpointSlice> = self
            .slices
            .get(service)
            .into_iter()
            .flat_map(|slices| slices.values().map(Arc::as_ref))
            .collect();
        resolve(object, &slices, &self.node)
    }

    /// As [`Index::resolve`]; none as long as slices of the Service may be unread and a family of its addresses has no
    /// other: then it may have endpoints all the same, and is told as changed once it is known.
    pub fn resolve_known(&self, service: &ObjectName) -> Option<Vec<ResolvedPort>> {
        (!self.is_unknown(service)).then(|| self.resolve(service))
    }

    /// The addresses of a Service that is not served, or not yet: they are somebody's all the same (S-30 d).
    pub fn unserved(&self, service: &ObjectName) -> &[IpAddr] {
        match self.services.get(service) {
            Some(object) if object.ports.is_empty() || self.is_unknown(service) => {
                &object.cluster_ips
            }
            _ => &[],
        }
    }

    /// The ranges that Services get their addresses from. None before they are known, and while there are Services of which not
    /// even the addresses are.
    pub fn service_cidrs(&self) -> Option<BTreeSet<Cidr>> {
        let unread = self.unread.as_ref()?;
        let known = |service| self.services.contains_key(service);
        if unread.anything || !unread.services.iter().all(known) {
            return None;
        }
        let told = || {
            let ranges = self.service_cidrs.values().flat_map(|it| &it.ranges);
            ranges.copied().collect()
        };
        let given = self.given_service_cidrs.clone();
        let mut ranges = given.or_else(|| self.service_cidrs_known.then(told))?;
        ranges.retain(|range| self.families.has(range.family()));
        Some(ranges)
    }

    /// Names of the Services that exist, sorted.
    pub fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.services.keys()
    }

    /// Everything that can be read has been told once (S-8).
    pub fn is_synced(&self) -> bool {
        self.unread.is_some()
    }

    /// The Services that may be other than they are here, because they or slices of theirs can't be read: from now on any
    /// other that is not here does not exist (S-8). None while that may be any Service.
    pub fn unread(&self) -> Option<BTreeSet<ObjectName>> {
        let unread = self.unread.as_ref().filter(|unread| !unread.anything)?;
        // Slices that outlive their Service, or are of one that is not served, are nobody's.
        let owners = unread.owners.iter();
        let owners = owners.filter(|owner| self.served(owner).is_some());
        Some(unread.services.iter().chain(owners).cloned().collect())
    }

    /// The node that resolution takes as its own.
    pub fn node(&self) -> &Node {
        &self.node
    }

    fn put_unread(&mut self, unread: Unread) -> Vec<ObjectName> {
        let names = self.services.keys();
        let mut unknown: Vec<_> = names
            .filter(|name| self.is_unknown(name))
            .cloned()
            .collect();
        self.unread = Some(unread);
        unknown.retain(|name| !self.is_unknown(name));
        unknown
    }

    fn is_unknown(&self, name: &ObjectName) -> bool {
        let may_have_others = self
            .unread
            .as_ref()
            .is_none_or(|unread| unread.anything || unread.owners.contains(name));
        let Some(service) = self.served(name).filter(|_| may_have_others) else {
            return false;
        };
        let slices = self.slices.get(name);
        let has_slice = |family| {
            let mut slices = slices.into_iter().flat_map(|slices| slices.values());
            slices.any(|slice| slice.family == family)
        };
        let mut families = service.cluster_ips.iter().map(Family::of);
        families.any(|family| !has_slice(family))
    }

    fn served(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        let service = self.services.get(name);
        service.filter(|service| !service.ports.is_empty())
    }

    fn put_service(&mut self, name: ObjectName, service: Option<Arc<Service>>) -> Vec<ObjectName> {
        let service = service.map(|service| self.served_part(service));
        let before = match &service {
            Some(service) => self.services.insert(name.clone(), service.clone()),
            None => self.services.remove(&name),
        };
        if before == service {
            Vec::new()
        } else {
            vec![name]
        }
    }

    /// The Service without addresses of families that are not served. One that has no other is nobody's to serve here.
    fn served_part(&self, service: Arc<Service>) -> Arc<Service> {
        let is_served = |address: &IpAddr| self.families.has(Family::of(address));
        if service.cluster_ips.iter().all(is_served) {
            return service;
        }
        let mut service = Arc::unwrap_or_clone(service);
        service.cluster_ips.retain(is_served);
        if service.cluster_ips.is_empty() {
            service.ports.clear();
        }
        Arc::new(service)
    }

    fn put_slice(
        &mut self,
        name: ObjectName,
        slice: Option<Arc<EndpointSlice>>,
    ) -> Vec<ObjectName> {
        let slice = slice.filter(|slice| self.families.has(slice.family));
        let owner = slice.as_ref().map(|slice| ObjectName {
            namespace: name.namespace.clone(),
            name: slice.service.clone(),
        });
        let old_owner = self.service_of.remove(&name);
        let before = old_owner
            .as_ref()
            .and_then(|owner| self.take_slice(owner, &name));
        if let (Some(owner), Some(slice)) = (&owner, &slice) {
            self.service_of.insert(name.clone(), owner.clone());
            self.slices
                .entry(owner.clone())
                .or_default()
                .insert(name, slice.clone());
        }
        if before == slice {
            return Vec::new();
        }
        // A slice whose label changed leaves one Service and joins another.
        let concerned: BTreeSet<_> = old_owner.into_iter().chain(owner).collect();
        concerned
            .into_iter()
            .filter(|service| self.services.contains_key(service))
            .collect()
    }

    fn take_slice(&mut self, owner: &ObjectName, name: &ObjectName) -> Option<Arc<EndpointSlice>> {
        let slices = self.slices.get_mut(owner)?;
        let slice = slices.remove(name);
        if slices.is_empty() {
            self.slices.remove(owner);
        }
        slice
    }

    /// Without an object the node has the name that it was given and no known zone.
    fn put_node(&mut self, node: Option<&Node>) -> Vec<ObjectName> {
        let zone = node.and_then(|node| node.zone.clone());
        if zone == self.node.zone {
            return Vec::new();
        }
        self.node.zone = zone;
        self.services.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
