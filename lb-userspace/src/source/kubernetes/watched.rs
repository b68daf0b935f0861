//! One kind of object under watch: the API's objects become ours. Does no I/O; the reflector does the talking.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{core::v1, discovery, networking};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::warn;

use super::item::{Item, Read};
use super::wire::{CidrWire, NodeWire, ServiceWire, SliceWire};
use crate::model::{Concern, EndpointSlice, Node, ObjectName, Service, ServiceCidr, Unread};
use crate::source::Batch;
use crate::source::convert::{self, Converted};
use crate::source::known::{Kind, Known, Told};
use crate::source::observed::{NodeState, Rejected};

/// When the newest change of a slice was caused.
pub(super) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Taint of a node that the cluster's autoscaler is about to delete (S-61).
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// A kind of the model that the API has a kind for.
pub(super) trait ApiKind: Kind + Clone + Debug + Send + Sync + 'static {
    /// The API's kind.
    type Object: Resource<DynamicType = ()>;
    /// The members of it that count.
    type Wire: DeserializeOwned + Into<Self::Object>;
    /// What it says beside what it means.
    type Aside: Clone + Debug + Send;

    /// From the API's object to the model's.
    fn convert(name: &ObjectName, object: &Self::Object) -> Converted<Self>;

    /// The rest.
    fn aside(object: &Self::Object) -> Self::Aside;

    /// What an object is about that is none of this kind.
    fn concern(name: &ObjectName, object: &Value) -> Concern;

    /// What is known of an object that is none of this kind.
    fn left(_: &ObjectName, _: &Value) -> Option<Arc<Self>> {
        None
    }
}

impl ApiKind for Service {
    type Object = v1::Service;
    type Wire = ServiceWire;
    type Aside = ();

    fn convert(name: &ObjectName, object: &v1::Service) -> Converted<Self> {
        convert::service(name, object)
    }

    fn aside(_: &v1::Service) {}

    fn concern(name: &ObjectName, _: &Value) -> Concern {
        Concern::Service(name.clone())
    }

    fn left(name: &ObjectName, object: &Value) -> Option<Arc<Self>> {
        convert::unreadable_service(name, object)
    }
}

impl ApiKind for EndpointSlice {
    type Object = discovery::v1::EndpointSlice;
    type Wire = SliceWire;
    /// When its last change was caused.
    type Aside = Option<Timestamp>;

    fn convert(name: &ObjectName, object: &discovery::v1::EndpointSlice) -> Converted<Self> {
        convert::endpoint_slice(name, object)
    }

    fn aside(object: &discovery::v1::EndpointSlice) -> Option<Timestamp> {
        let annotations = object.metadata.annotations.as_ref()?;
        annotations.get(TRIGGER_TIME)?.parse().ok()
    }

    fn concern(name: &ObjectName, object: &Value) -> Concern {
        convert::owner(&name.namespace, &object["metadata"]["labels"])
    }
}

impl ApiKind for Node {
    type Object = v1::Node;
    type Wire = NodeWire;
    /// Whether it should be sent traffic (S-61).
    type Aside = NodeState;

    fn convert(_: &ObjectName, object: &v1::Node) -> Converted<Self> {
        Converted {
            object: Some(Arc::new(convert::node(object))),
            problems: Vec::new(),
        }
    }

    fn aside(object: &v1::Node) -> NodeState {
        let taints = object.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        if object.metadata.deletion_timestamp.is_some() {
            NodeState::Deleted
        } else if taints.is_some_and(|taints| taints.iter().any(|taint| taint.key == TO_BE_DELETED))
        {
            NodeState::Tainted
        } else {
            NodeState::Eligible
        }
    }

    fn concern(_: &ObjectName, _: &Value) -> Concern {
        Concern::Nothing
    }
}

impl ApiKind for ServiceCidr {
    type Object = networking::v1::ServiceCIDR;
    type Wire = CidrWire;
    type Aside = ();

    fn convert(_: &ObjectName, object: &networking::v1::ServiceCIDR) -> Converted<Self> {
        convert::service_cidr(object)
    }

    fn aside(_: &networking::v1::ServiceCIDR) {}

    fn concern(_: &ObjectName, _: &Value) -> Concern {
        Concern::Nothing
    }
}

/// What the watch of one kind has told so far.
#[derive(Debug)]
pub(super) struct Watched<T> {
    known: Known<T>,
    rejected: Rejected,
    /// What those are about.
    concerns: BTreeMap<ObjectName, Concern>,
    complete: bool,
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self {
            known: Known::default(),
            rejected: Rejected::default(),
            concerns: BTreeMap::new(),
            complete: false,
        }
    }
}

impl<T: ApiKind> Watched<T> {
    /// Takes in a complete list, as the changes to what was known (S-8).
    pub(super) fn list(&mut self, items: Vec<Item<T>>) -> Batch {
        self.rejected.clear();
        self.concerns.clear();
        let all = items
            .into_iter()
            .filter_map(|item| self.told(item))
            .collect();
        self.complete = true;
        self.known.replace(all)
    }

    /// Takes in an object that is new or has changed.
    pub(super) fn put(&mut self, item: Item<T>) -> Batch {
        match self.told(item) {
            Some((name, told)) => self.known.put(name, told),
            None => Batch::new(),
        }
    }

    /// Takes in that an object is gone.
    pub(super) fn delete(&mut self, item: Item<T>) -> Batch {
        self.rejected.set(&item.name, false);
        self.concerns.remove(&item.name);
        self.known.remove(item.name)
    }

    /// A list was complete at least once.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Nothing of this kind is known.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many objects can't be read at present.
    pub(super) fn rejected(&self) -> usize {
        self.rejected.len()
    }

    /// What can't be read at present.
    pub(super) fn unread(&self) -> Unread {
        self.concerns.values().cloned().collect()
    }

    /// What is to be told of an object. Of one that can't be read what was known stays. None for one without a name that
    /// can't be read, which is reported at once.
    fn told(&mut self, item: Item<T>) -> Option<(ObjectName, Told<T>)> {
        let Item {
            name,
            object,
            concern,
            left,
            ..
        } = item;
        self.rejected.set(&name, object.is_err());
        if object.is_err() {
            self.concerns.insert(name.clone(), concern);
        } else {
            self.concerns.remove(&name);
        }
        let told = match object {
            Ok(Read { converted, .. }) => Told::new(&name, None, &converted),
            Err(error) if name.name.is_empty() => {
                warn!(
                    kind = T::NAME,
                    error, "an object that has no name can't be read and is ignored"
                );
                return None;
            }
            Err(error) => self.known.unread(&name, &error, left),
        };
        Some((name, told))
    }
}
