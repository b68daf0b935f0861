//! An object of the API that may be one that this program can't read. Lists and watches decode each object by itself, so
//! that such a one costs neither the list that it is in nor the watch; and what it says is put in our words at once, so
//! that no more of it is kept.

use std::sync::Arc;

use kube::Resource;
use kube::core::ObjectMeta;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::watched::ApiKind;
use crate::model::{Concern, ObjectName};
use crate::source::convert::Converted;

/// An object, or why it could not be read.
#[derive(Clone, Debug)]
pub(super) struct Item<T: ApiKind> {
    /// Of an object that can't be read as well, where it can be told.
    pub(super) name: ObjectName,
    /// Its version, likewise.
    pub(super) version: Option<String>,
    /// The object, or the decoder's words.
    pub(super) object: Result<Read<T>, String>,
    /// What the object is about if it can't be read.
    pub(super) concern: Concern,
    /// What is known of it if it can't be read.
    pub(super) left: Option<Arc<T>>,
}

/// An object that was read.
#[derive(Clone, Debug)]
pub(super) struct Read<T: ApiKind> {
    /// What it means.
    pub(super) converted: Converted<T>,
    /// What else it says.
    pub(super) aside: T::Aside,
}

impl<T: ApiKind> Item<T> {
    /// An object from its text.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub(super) fn from_text(text: &[u8]) -> Result<Self, serde_json::Error> {
        match serde_json::from_slice::<T::Wire>(text) {
            Ok(wire) => Ok(Self::of(wire)),
            // Rare, and the words are then the same as in a watch.
            Err(_) => Self::from_value(&serde_json::from_slice(text)?),
        }
    }

    fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
        if !value.is_object() {
            return Err(serde_json::Error::custom(
                "an object of the API is no JSON object",
            ));
        }
        match T::Wire::deserialize(value) {
            Ok(wire) => Ok(Self::of(wire)),
            Err(error) => {
                let text = |field: &str| value["metadata"][field].as_str();
                let name = ObjectName::new(
                    text("namespace").unwrap_or_default(),
                    text("name").unwrap_or_default(),
                );
                let nameless = name.namespace.is_empty() || name.name.is_empty();
                Ok(Self {
                    left: if nameless {
                        None
                    } else {
                        T::left(&name, value)
                    },
                    concern: if nameless {
                        Concern::Unknown
                    } else {
                        T::concern(&name, value)
                    },
                    name,
                    version: text("resourceVersion").map(str::to_owned),
                    object: Err(error.to_string()),
                })
            }
        }
    }

    fn of(wire: T::Wire) -> Self {
        let mut object: T::Object = wire.into();
        let meta: &mut ObjectMeta = object.meta_mut();
        let version = meta.resource_version.take();
        let name = ObjectName::new(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        );
        Self {
            object: Ok(Read {
                converted: T::convert(&name, &object),
                aside: T::aside(&object),
            }),
            name,
            version,
            concern: Concern::Nothing,
            left: None,
        }
    }
}

impl<'de, T: ApiKind> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Service;

    #[test]
    fn an_object_that_does_not_decode_keeps_its_name_and_version() {
        let objects = [
            json!({"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "7"}, "spec": {"ports": "eighty"}}),
            json!({"metadata": {"name": "b", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.1"}}),
            json!({"metadata": {"name": 5}}),
        ];
        let read = |object: &Value| {
            let from_text = Item::<Service>::from_text(object.to_string().as_bytes());
            let from_text = from_text.expect("an object");
            let from_watch: Item<Service> = serde_json::from_value(object.clone()).expect("it");
            let words = |item: &Item<Service>| item.object.as_ref().err().cloned();
            assert_eq!(words(&from_text), words(&from_watch));
            assert_eq!(from_text.name, from_watch.name);
            from_text
        };
        let items = objects.each_ref().map(read);
        let names = items.each_ref().map(|item| item.name.to_string());
        assert_eq!(names, ["shop/a", "shop/b", "/"]);
        assert_eq!(items[0].version.as_deref(), Some("7"));
        assert_eq!(items.map(|item| item.object.is_ok()), [false, true, false]);
    }

    #[test]
    fn what_is_no_object_is_no_item() {
        for text in ["5", "\"a\"", "[]", "null", "{", ""] {
            assert!(
                Item::<Service>::from_text(text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }
}
