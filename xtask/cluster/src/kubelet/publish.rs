//! Telling the API what a pod's status is: the fields that have changed since the last time, and no other, so that what
//! somebody else has written stays.

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Map, Value, json};

use super::status::{Facts, Shown, status};
use super::worker::Worker;

/// The reason in a status answer to a write for a pod that is no more, or is another by now.
const LOST: [u16; 2] = [404, 409];

/// What the API has been told.
#[derive(Debug, Default)]
pub(super) struct Published {
    fields: Map<String, Value>,
    conditions: Vec<PodCondition>,
}

impl Published {
    pub fn phase(&self) -> Option<&str> {
        self.fields.get("phase").and_then(Value::as_str)
    }
}

impl Worker {
    /// Returns whether the API knows the status as it is now.
    pub(super) async fn publish(&mut self) -> bool {
        if self.is_settled {
            return true;
        }
        let status = self.status();
        let conditions = status.conditions.clone().unwrap_or_default();
        let Ok(Value::Object(fields)) = serde_json::to_value(&status) else {
            return false;
        };
        let changes: Map<String, Value> = fields
            .iter()
            .filter(|(name, value)| self.published.fields.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), whole(name, value)))
            .collect();
        if changes.is_empty() {
            return true;
        }
        let patch = json!({ "metadata": { "uid": self.pod.uid() }, "status": changes });
        let written = self
            .api()
            .patch_status(
                &self.pod.name_any(),
                &PatchParams::default(),
                &Patch::Strategic(patch),
            )
            .await;
        match written {
            Ok(_) => {
                self.published = Published { fields, conditions };
                true
            }
            // Its end will be told in another way.
            Err(kube::Error::Api(answer)) if LOST.contains(&answer.code) => true,
            Err(error) => {
                tracing::warn!(pod = self.pod.name_any(), %error, "the status was not written");
                self.try_again();
                false
            }
        }
    }

    /// The last word: the object of a pod of which nothing is left.
    pub(super) async fn delete_object(&mut self) {
        let exactly = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: self.pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api().delete(&self.pod.name_any(), &exactly).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if LOST.contains(&answer.code) => {}
            Err(_) => self.try_again(),
        }
    }

    fn status(&self) -> PodStatus {
        let shown: Vec<&Shown> = self
            .containers
            .iter()
            .map(|container| &container.shown)
            .collect();
        let node = self.shared.node().addresses();
        let known = self.pod.status.as_ref();
        let before = if self.published.conditions.is_empty() {
            known.and_then(|status| status.conditions.as_deref())
        } else {
            Some(self.published.conditions.as_slice())
        };
        status(&Facts {
            pod: &self.pod,
            containers: &shown,
            pod_ips: &self.ips,
            host_ips: &node,
            since: self.since,
            initialized: self.initialized,
            ending: self.ending.is_some(),
            declared: self.declared.as_deref(),
            before: before.unwrap_or_default(),
            now: Timestamp::now(),
        })
    }

    fn api(&self) -> Api<Pod> {
        let namespace = self.pod.namespace().unwrap_or_default();
        Api::namespaced(self.shared.client.clone(), &namespace)
    }
}

/// A strategic patch would merge lists of addresses with what is there.
fn whole(name: &str, value: &Value) -> Value {
    match (name, value) {
        ("podIPs" | "hostIPs", Value::Array(addresses)) => {
            let mut list = vec![json!({ "$patch": "replace" })];
            list.extend(addresses.iter().cloned());
            Value::Array(list)
        }
        // A field that is left out would stay as it is.
        ("conditions", Value::Array(conditions)) => {
            let mut conditions = conditions.clone();
            for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
                for field in ["reason", "message"] {
                    condition.entry(field).or_insert(Value::Null);
                }
            }
            Value::Array(conditions)
        }
        _ => value.clone(),
    }
}
