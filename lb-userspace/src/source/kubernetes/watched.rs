//! One kind of object under watch: the events of a kube watcher become ours. Pure; the watcher does the talking.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::{core::v1, discovery};
use kube::Resource;
use kube::runtime::watcher::Event;

use crate::model::{EndpointSlice, Node, ObjectName, Service};
use crate::source::Batch;
use crate::source::convert::{self, Converted};
use crate::source::known::{Kind, Known, Told};

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
    /// A list that is not complete yet; until it is, what was known stays.
    list: BTreeMap<ObjectName, Told<T>>,
    complete: bool,
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self {
            known: Known::default(),
            list: BTreeMap::new(),
            complete: false,
        }
    }
}

impl<T: ApiKind> Watched<T> {
    /// Takes in one event of the watcher. A list counts when it is complete, as the changes to what was known (S-8).
    pub(super) fn apply(&mut self, event: Event<T::Object>) -> Batch {
        match event {
            Event::Init => {
                self.list.clear();
                Batch::new()
            }
            Event::InitApply(object) => {
                let (name, told) = told(&object);
                self.list.insert(name, told);
                Batch::new()
            }
            Event::InitDone => {
                self.complete = true;
                self.known.replace(std::mem::take(&mut self.list))
            }
            Event::Apply(object) => {
                let (name, told) = told(&object);
                self.known.put(name, told)
            }
            Event::Delete(object) => self.known.remove(name_of(&object)),
        }
    }

    /// A list was complete at least once.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Nothing of this kind is known.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

fn told<T: ApiKind>(object: &T::Object) -> (ObjectName, Told<T>) {
    let name = name_of(object);
    let told = Told::new(&name, None, &T::convert(&name, object));
    (name, told)
}

fn name_of(object: &impl Resource) -> ObjectName {
    let meta = object.meta();
    ObjectName::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}
