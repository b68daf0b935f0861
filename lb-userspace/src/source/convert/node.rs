//! A Node of the API as the model's: its name and zone.

use k8s_openapi::api::core::v1;

use crate::model::Node;

/// Label with the zone of a node (S-21).
const ZONE: &str = "topology.kubernetes.io/zone";

/// Converts a Node; nothing can be wrong with one.
pub fn node(object: &v1::Node) -> Node {
    let labels = object.metadata.labels.as_ref();
    Node {
        name: object.metadata.name.clone().unwrap_or_default(),
        zone: labels
            .and_then(|labels| labels.get(ZONE))
            .filter(|zone| !zone.is_empty())
            .cloned(),
    }
}
