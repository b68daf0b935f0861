//! All objects that a source has told of, and which Services each change concerns: synchronous, without input or output.
//! It keeps what was told as it was told and resolves on demand; results are not kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{EndpointSlice, Node, ObjectName, Service, SourceEvent};
use crate::few::Few;
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
    synced: bool,
    complete: bool,
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
            slices: HashMap::new(),
            service_of: HashMap::new(),
            synced: false,
            complete: false,
        }
    }

    /// Takes in one event and returns, sorted, the Services whose resolution may have changed. A Service that is gone is
    /// among them; one that was never told is not, whatever slices it has.
    pub fn apply(&mut self, event: SourceEvent) -> Vec<ObjectName> {
        match event {
            SourceEvent::Service(name, service) => self.put_service(name, service),
            SourceEvent::EndpointSlice(name, slice) => self.put_slice(name, slice),
            SourceEvent::Node(node) => self.put_node(node.as_deref()),
            SourceEvent::Synced { complete } => {
                self.synced = true;
                if !complete || self.complete {
                    return Vec::new();
                }
                self.complete = true;
                self.services_without_slices()
            }
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

    /// As [`Index::resolve`]; none as long as the Service has no slice and the list is not complete: then it may have
    /// slices all the same, and is told as changed once it is known.
    pub fn resolve_known(&self, service: &ObjectName) -> Option<Vec<ResolvedPort>> {
        let unknown = !self.complete
            && self.services.contains_key(service)
            && !self.slices.contains_key(service);
        (!unknown).then(|| self.resolve(service))
    }

    /// Names of the Services that exist, sorted.
    pub fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.services.keys()
    }

    /// Everything that can be read has been told once (S-8).
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Everything that exists has been told once: from now on what is not here does not exist (S-8).
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The node that resolution takes as its own.
    pub fn node(&self) -> &Node {
        &self.node
    }

    fn services_without_slices(&self) -> Vec<ObjectName> {
        let names = self.services.keys();
        names
            .filter(|name| !self.slices.contains_key(name))
            .cloned()
            .collect()
    }

    fn put_service(&mut self, name: ObjectName, service: Option<Arc<Service>>) -> Vec<ObjectName> {
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

    fn put_slice(
        &mut self,
        name: ObjectName,
        slice: Option<Arc<EndpointSlice>>,
    ) -> Vec<ObjectName> {
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
