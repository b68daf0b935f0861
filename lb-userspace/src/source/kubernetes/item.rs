//! An object of the API that may be one that this program can't read. Lists and watches decode each object by itself, so
//! that such a one costs neither the list that it is in nor the watch.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::model::ObjectName;

/// An object, or why it could not be read.
#[derive(Clone, Debug)]
pub(super) struct Item<K> {
    /// Of an object that can't be read: namespace, name and version alone, where they can be told.
    meta: ObjectMeta,
    /// The object, or the decoder's words.
    pub(super) object: Result<K, String>,
}

impl<K: Resource> Item<K> {
    pub(super) fn name(&self) -> ObjectName {
        let meta = self.meta();
        ObjectName::new(
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Item<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if !value.is_object() {
            return Err(D::Error::custom("an object of the API is no JSON object"));
        }
        let text = |field: &str| value["metadata"][field].as_str().map(str::to_owned);
        let meta = ObjectMeta {
            namespace: text("namespace"),
            name: text("name"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        let object = serde_json::from_value(value).map_err(|error| error.to_string());
        Ok(Self { meta, object })
    }
}

impl<K: Resource> Resource for Item<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.object {
            Ok(object) => object.meta(),
            Err(_) => &self.meta,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.object {
            Ok(object) => object.meta_mut(),
            Err(_) => &mut self.meta,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_that_does_not_decode_keeps_its_name_and_version() {
        let list: Vec<Item<Service>> = serde_json::from_value(json!([
            {"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "7"}, "spec": {"ports": "eighty"}},
            {"metadata": {"name": "b", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.1"}},
            {"metadata": {"name": 5}},
        ]))
        .expect("a list with objects that can't be read");
        let names: Vec<String> = list.iter().map(|item| item.name().to_string()).collect();
        assert_eq!(names, ["shop/a", "shop/b", "/"]);
        assert_eq!(list[0].meta().resource_version.as_deref(), Some("7"));
        assert!(list[0].object.is_err() && list[1].object.is_ok() && list[2].object.is_err());
    }
}
