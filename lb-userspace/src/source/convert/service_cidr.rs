//! A ServiceCIDR of the API as the model's (S-30 d).

use std::sync::Arc;

use k8s_openapi::api::networking::v1;

use super::{Converted, Problem};
use crate::model::{Cidr, ServiceCidr};

/// Condition of a range from which Services get addresses.
const READY: &str = "Ready";

/// Converts a ServiceCIDR. One that is being deleted, or is said not to be ready, has no range: no Service gets an address from it
/// any more, so whoever is to have the addresses next may have them already.
pub fn service_cidr(object: &v1::ServiceCIDR) -> Converted<ServiceCidr> {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    let is_unready = conditions
        .flatten()
        .any(|condition| condition.type_ == READY && condition.status == "False");
    if is_unready || object.metadata.deletion_timestamp.is_some() {
        return Converted::not_served();
    }
    let texts = object.spec.iter().flat_map(|spec| &spec.cidrs).flatten();
    let mut problems = Vec::new();
    let ranges: Vec<Cidr> = texts
        .filter_map(|text| match text.parse() {
            Ok(range) => Some(range),
            Err(error) => {
                problems.push(Problem::InvalidCidr(error));
                None
            }
        })
        .collect();
    Converted {
        object: (!ranges.is_empty()).then(|| Arc::new(ServiceCidr { ranges })),
        problems,
    }
}
