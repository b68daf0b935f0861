//! From the text of a file to the objects that it defines. Nothing here knows of other files or of what a file said before.

use std::sync::Arc;

use k8s_openapi::api::{core::v1, discovery, networking};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::debug;

use super::document::{Document, Format, documents, parse};
use crate::model::{Concern, EndpointSlice, Node, ObjectName, Service, ServiceCidr, Unread};
use crate::source::convert::{self, Converted, DEFAULT_NAMESPACE};

/// What a file says.
#[derive(Default, Debug)]
pub(super) struct Parsed {
    pub(super) definitions: Vec<Definition>,
    /// Where it does not parse: a place in the file and the parser's words.
    pub(super) broken: Vec<String>,
    /// What those are about.
    pub(super) unread: Unread,
}

/// Why a definition does not parse, and what it is about.
struct Broken {
    words: String,
    concern: Concern,
}

impl<W: Into<String>> From<W> for Broken {
    fn from(words: W) -> Self {
        Self {
            words: words.into(),
            concern: Concern::Unknown,
        }
    }
}

/// An object that a file defines.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Definition {
    /// Number of the document in its file, from 1.
    pub(super) document: usize,
    pub(super) name: ObjectName,
    pub(super) object: Object,
}

/// An object of a kind that counts.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Object {
    Service(Converted<Service>),
    EndpointSlice(Converted<EndpointSlice>),
    Node(Converted<Node>),
    ServiceCidr(Converted<ServiceCidr>),
}

impl Definition {
    /// Kind and name: two definitions with the same are of one object.
    pub(super) fn key(&self) -> (&'static str, &ObjectName) {
        let kind = match self.object {
            Object::Service(_) => "Service",
            Object::EndpointSlice(_) => "EndpointSlice",
            Object::Node(_) => "Node",
            Object::ServiceCidr(_) => "ServiceCIDR",
        };
        (kind, &self.name)
    }
}

/// Reads every document of a file; one that does not parse costs itself alone.
pub(super) fn parse_file(format: Format, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (index, document) in documents(format, text).into_iter().enumerate() {
        let number = index + 1;
        if let Err(Broken { words, concern }) =
            parse_document(format, document, number, &mut parsed)
        {
            parsed.broken.push(format!("document {number}: {words}"));
            parsed.unread.add(concern);
        }
    }
    parsed
}

/// What every object of the API starts with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
}

/// A list of objects; those of a `ServiceList` need not say their own kind.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Option<Vec<Value>>,
}

fn parse_document(
    format: Format,
    document: Document<'_>,
    number: usize,
    parsed: &mut Parsed,
) -> Result<(), Broken> {
    let header: Header = parse(format, document)?;
    let (api_version, kind) = identity(&header)?;
    match (api_version, kind) {
        ("v1", "List" | "ServiceList" | "NodeList")
        | ("discovery.k8s.io/v1", "EndpointSliceList")
        | ("networking.k8s.io/v1", "ServiceCIDRList") => {
            let list: List = parse(format, document)?;
            for (index, item) in list.items.into_iter().flatten().enumerate() {
                if let Err(Broken { words, concern }) =
                    parse_item(item, api_version, kind, number, parsed)
                {
                    parsed.unread.add(concern);
                    parsed.broken.push(format!(
                        "document {number}: item {} of the list: {words}",
                        index + 1
                    ));
                }
            }
            Ok(())
        }
        _ => define(&header, number, parsed, Decode::Text(format, document)),
    }
}

fn parse_item(
    mut item: Value,
    list_version: &str,
    list_kind: &str,
    number: usize,
    parsed: &mut Parsed,
) -> Result<(), Broken> {
    let item_kind = list_kind
        .strip_suffix("List")
        .filter(|kind| !kind.is_empty());
    if let (Some(kind), Some(members)) = (item_kind, item.as_object_mut()) {
        members.entry("kind").or_insert_with(|| kind.into());
        members
            .entry("apiVersion")
            .or_insert_with(|| list_version.into());
    }
    let header: Header = serde_json::from_value(item.clone()).map_err(|error| error.to_string())?;
    define(&header, number, parsed, Decode::Value(item))
}

/// The labels of an object that does not parse.
#[derive(Deserialize)]
struct Labelled {
    metadata: Labels,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    labels: Value,
}

/// Where an object is decoded from: text, which knows its lines, or an item of a list.
enum Decode<'a> {
    Text(Format, Document<'a>),
    Value(Value),
}

impl Decode<'_> {
    fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        match self {
            Self::Text(format, document) => parse(*format, *document),
            Self::Value(value) => T::deserialize(value).map_err(|error| error.to_string()),
        }
    }

    /// The owner of a slice that does not parse.
    fn owner(&self, namespace: &str) -> Concern {
        match self.decode::<Labelled>() {
            Ok(object) => convert::owner(namespace, &object.metadata.labels),
            Err(_) => Concern::Unknown,
        }
    }
}

fn define(
    header: &Header,
    document: usize,
    parsed: &mut Parsed,
    decode: Decode<'_>,
) -> Result<(), Broken> {
    let (api_version, kind) = identity(header)?;
    let (name, object) = match (api_version, kind) {
        ("v1", "Service") => {
            let name = namespaced(header)?;
            let broken = |words| Broken {
                words,
                concern: Concern::Service(name.clone()),
            };
            let object = decode.decode::<v1::Service>().map_err(broken)?;
            let object = convert::service(&name, &object);
            (name, Object::Service(object))
        }
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            let name = namespaced(header)?;
            let broken = |words| Broken {
                words,
                concern: decode.owner(&name.namespace),
            };
            let object = decode.decode::<discovery::v1::EndpointSlice>();
            let object = convert::endpoint_slice(&name, &object.map_err(broken)?);
            (name, Object::EndpointSlice(object))
        }
        ("networking.k8s.io/v1", "ServiceCIDR") => {
            let name = ObjectName::new("", object_name(header)?);
            let broken = |words| Broken {
                words,
                concern: Concern::Nothing,
            };
            let object = decode.decode::<networking::v1::ServiceCIDR>();
            let object = convert::service_cidr(&object.map_err(broken)?);
            (name, Object::ServiceCidr(object))
        }
        ("v1", "Node") => {
            let name = ObjectName::new("", object_name(header)?);
            let broken = |words| Broken {
                words,
                concern: Concern::Nothing,
            };
            let node = convert::node(&decode.decode::<v1::Node>().map_err(broken)?);
            let object = Converted {
                object: Some(Arc::new(node)),
                problems: Vec::new(),
            };
            (name, Object::Node(object))
        }
        _ => {
            debug!(
                document,
                api_version, kind, "this kind of object is not served"
            );
            return Ok(());
        }
    };
    parsed.definitions.push(Definition {
        document,
        name,
        object,
    });
    Ok(())
}

fn identity(header: &Header) -> Result<(&str, &str), String> {
    let api_version = header
        .api_version
        .as_deref()
        .ok_or("it has no apiVersion")?;
    let kind = header.kind.as_deref().ok_or("it has no kind")?;
    Ok((api_version, kind))
}

fn namespaced(header: &Header) -> Result<ObjectName, String> {
    let namespace = header
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.namespace.as_deref())
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or(DEFAULT_NAMESPACE);
    Ok(ObjectName::new(namespace, object_name(header)?))
}

fn object_name(header: &Header) -> Result<&str, String> {
    header
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.name.as_deref())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| "it has no metadata.name".to_owned())
}
