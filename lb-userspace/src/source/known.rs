//! What a source has told of one kind of object. Turns a conversion, or a complete list of them, into the events that bring
//! the listener from what it was told to what is. Knows neither where objects come from nor what they mean.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::convert::{Converted, Problem};
use super::{Batch, SourceEvent};
use crate::model::{EndpointSlice, Node, ObjectName, Service, ServiceCidr};

/// A kind of object that a source tells of.
pub(super) trait Kind: PartialEq + Sized {
    /// Name of the kind, for messages.
    const NAME: &'static str;

    /// The event which says that the object is now this.
    fn event(name: ObjectName, object: Option<Arc<Self>>) -> SourceEvent;
}

impl Kind for Service {
    const NAME: &'static str = "Service";

    fn event(name: ObjectName, object: Option<Arc<Self>>) -> SourceEvent {
        SourceEvent::Service(name, object)
    }
}

impl Kind for EndpointSlice {
    const NAME: &'static str = "EndpointSlice";

    fn event(name: ObjectName, object: Option<Arc<Self>>) -> SourceEvent {
        SourceEvent::EndpointSlice(name, object)
    }
}

impl Kind for Node {
    const NAME: &'static str = "Node";

    fn event(_: ObjectName, object: Option<Arc<Self>>) -> SourceEvent {
        SourceEvent::Node(object)
    }
}

impl Kind for ServiceCidr {
    const NAME: &'static str = "ServiceCIDR";

    fn event(name: ObjectName, object: Option<Arc<Self>>) -> SourceEvent {
        SourceEvent::ServiceCidr(name, object)
    }
}

/// An object as it is to be told.
#[derive(Debug)]
pub(super) struct Told<T> {
    object: Option<Arc<T>>,
    messages: Vec<String>,
}

impl<T: Kind> Told<T> {
    /// `place` says where the object is written, where that is known.
    pub(super) fn new(name: &ObjectName, place: Option<&str>, converted: &Converted<T>) -> Self {
        let sentence = |problem: &Problem| match place {
            Some(place) => format!("{} {name} ({place}): {problem}", T::NAME),
            None => format!("{} {name}: {problem}", T::NAME),
        };
        Self {
            messages: converted.problems.iter().map(sentence).collect(),
            object: converted.object.clone(),
        }
    }

    /// Adds something that is wrong beyond the object itself.
    pub(super) fn complain(&mut self, message: String) {
        self.messages.push(message);
    }

    fn is_nothing(&self) -> bool {
        self.object.is_none() && self.messages.is_empty()
    }
}

/// The objects of one kind that were told of.
#[derive(Debug)]
pub(super) struct Known<T> {
    told: BTreeMap<ObjectName, Told<T>>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            told: BTreeMap::new(),
        }
    }
}

impl<T: Kind> Known<T> {
    /// One object is now this, whatever becomes of the others.
    pub(super) fn put(&mut self, name: ObjectName, now: Told<T>) -> Batch {
        let before = self.told.remove(&name);
        let (old_object, old_messages) =
            before.map_or((None, Vec::new()), |told| (told.object, told.messages));
        let mut events = Batch::new();
        if old_messages != now.messages {
            events.push(SourceEvent::Problems {
                object: format!("{} {name}", T::NAME),
                messages: now.messages.clone(),
            });
        }
        if old_object != now.object {
            events.push(T::event(name.clone(), now.object.clone()));
        }
        if !now.is_nothing() {
            self.told.insert(name, now);
        }
        events
    }

    /// What to tell of an object that can't be read: what was told of it before, or else what is left of it, and that.
    pub(super) fn unread(&self, name: &ObjectName, error: &str, left: Option<Arc<T>>) -> Told<T> {
        let before = self.told.get(name).and_then(|told| told.object.clone());
        let (object, meanwhile) = match before.filter(|before| Some(before) != left.as_ref()) {
            Some(before) => (Some(before), "what was known of it stays in force"),
            None => (left, "it is ignored"),
        };
        let kind = T::NAME;
        let message = format!(
            "{kind} {name} can't be read ({error}), so {meanwhile}; correct it, or use a version of lb that knows its form"
        );
        Told {
            object,
            messages: vec![message],
        }
    }

    /// One object is gone.
    pub(super) fn remove(&mut self, name: ObjectName) -> Batch {
        self.put(
            name,
            Told {
                object: None,
                messages: Vec::new(),
            },
        )
    }

    /// Nothing was told that still holds.
    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// These are all objects that there are; the events tell removals first, so that what they held is free (S-8).
    pub(super) fn replace(&mut self, all: BTreeMap<ObjectName, Told<T>>) -> Batch {
        let gone: BTreeSet<_> = self
            .told
            .keys()
            .filter(|name| !all.contains_key(name))
            .cloned()
            .collect();
        let mut events: Batch = gone
            .into_iter()
            .flat_map(|name| self.remove(name))
            .collect();
        for (name, now) in all {
            events.extend(self.put(name, now));
        }
        events
    }
}

#[cfg(test)]
mod tests;
