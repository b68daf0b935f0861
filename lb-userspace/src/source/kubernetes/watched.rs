//! One kind of object under watch: the API's objects become ours. Does no I/O; the reflector does the talking.

use std::sync::Arc;

use k8s_openapi::api::{core::v1, discovery};
use kube::Resource;
use tracing::warn;

use super::item::Item;
use crate::model::{EndpointSlice, Node, ObjectName, Service};
use crate::source::Batch;
use crate::source::convert::{self, Converted};
use crate::source::known::{Kind, Known, Told};
use crate::source::observed::Rejected;

/// A kind of the model that the API has a kind for.
pub(super) trait ApiKind: Kind {
    /// The API's kind.
    type Object: Resource;

    /// From the API's object to the model's.
    fn convert(name: &ObjectName, object: &Self::Object) -> Converted<Self>;
}

impl ApiKind for Service {
    type Object = v1::Service;

    fn convert(name: &ObjectName, object: &v1::Service) -> Converted<Self> {
        convert::service(name, object)
    }
}

impl ApiKind for EndpointSlice {
    type Object = discovery::v1::EndpointSlice;

    fn convert(name: &ObjectName, object: &discovery::v1::EndpointSlice) -> Converted<Self> {
        convert::endpoint_slice(name, object)
    }
}

impl ApiKind for Node {
    type Object = v1::Node;

    fn convert(_: &ObjectName, object: &v1::Node) -> Converted<Self> {
        Converted {
            object: Some(Arc::new(convert::node(object))),
            problems: Vec::new(),
        }
    }
}

/// What the watch of one kind has told so far.
#[derive(Debug)]
pub(super) struct Watched<T> {
    known: Known<T>,
    rejected: Rejected,
    complete: bool,
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self {
            known: Known::default(),
            rejected: Rejected::default(),
            complete: false,
        }
    }
}

impl<T: ApiKind> Watched<T> {
    /// Takes in a complete list, as the changes to what was known (S-8).
    pub(super) fn list(&mut self, items: &[Item<T::Object>]) -> Batch {
        self.rejected.clear();
        let all = items.iter().filter_map(|item| self.told(item)).collect();
        self.complete = true;
        self.known.replace(all)
    }

    /// Takes in an object that is new or has changed.
    pub(super) fn put(&mut self, item: &Item<T::Object>) -> Batch {
        match self.told(item) {
            Some((name, told)) => self.known.put(name, told),
            None => Batch::new(),
        }
    }

    /// Takes in that an object is gone.
    pub(super) fn delete(&mut self, item: &Item<T::Object>) -> Batch {
        let name = item.name();
        self.rejected.set(&name, false);
        self.known.remove(name)
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

    /// What is to be told of an object. Of one that can't be read what was known stays. None for one without a name that
    /// can't be read, which is reported at once.
    fn told(&mut self, item: &Item<T::Object>) -> Option<(ObjectName, Told<T>)> {
        let name = item.name();
        self.rejected.set(&name, item.object.is_err());
        let told = match &item.object {
            Ok(object) => Told::new(&name, None, &T::convert(&name, object)),
            Err(error) if name.name.is_empty() => {
                warn!(
                    kind = T::NAME,
                    error, "an object that has no name can't be read and is ignored"
                );
                return None;
            }
            Err(error) => self.known.unread(&name, error),
        };
        Some((name, told))
    }
}
