//! The API server's own record of who has asked for what. Says nothing of what was sent or answered but the code.

use std::fs;
use std::io;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::ControlPlane;

/// A request as the API server has noted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As in RBAC: `list`, `create`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// As in RBAC; the path where it was for no resource.
    pub resource: String,
    /// Path and query.
    pub uri: String,
    /// The HTTP status that was answered.
    pub code: u64,
}

impl ControlPlane {
    /// What a user among [`Options::audited`](super::Options::audited) has asked for so far, in the order of the answers. A
    /// watch is there from its first answer on.
    ///
    /// # Errors
    /// When the record cannot be read, as where nobody is audited.
    pub fn requests_of(&self, user: &str) -> Result<Vec<Asked>> {
        let path = self.files.audit_log();
        let text = match fs::read_to_string(&path) {
            // It is made with the first request.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| path.clone())?,
        };
        // The last line may still be written.
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        let mut requests = Vec::new();
        for line in complete.lines() {
            let event: Value = serde_json::from_str(line).with_context(|| path.clone())?;
            let is_watch = event["verb"] == "watch" && event["responseStatus"]["code"] == 200;
            let counts = !is_watch || event["stage"] == "ResponseStarted";
            if event["user"]["username"] == user && counts {
                requests.push(asked(&event));
            }
        }
        Ok(requests)
    }
}

/// What the API server notes.
pub(super) fn policy(users: &[String]) -> String {
    let mut rules = vec![json!({ "level": "None" })];
    if !users.is_empty() {
        rules.insert(0, json!({ "level": "Metadata", "users": users }));
    }
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": rules,
    })
    .to_string()
}

fn asked(event: &Value) -> Asked {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let uri = text(&event["requestURI"]);
    let resource = match object["resource"].as_str() {
        Some(resource) => resource.to_owned(),
        None => uri.clone(),
    };
    Asked {
        verb: text(&event["verb"]),
        group: text(&object["apiGroup"]),
        resource,
        uri,
        code: event["responseStatus"]["code"].as_u64().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_a_resource_or_for_a_path() {
        let event = json!({
            "verb": "list", "requestURI": "/apis/discovery.k8s.io/v1/endpointslices?limit=500",
            "objectRef": { "resource": "endpointslices", "apiGroup": "discovery.k8s.io" },
            "responseStatus": { "code": 403 },
        });
        let request = asked(&event);
        assert_eq!(request.resource, "endpointslices");
        assert_eq!(
            (request.group.as_str(), request.code),
            ("discovery.k8s.io", 403)
        );
        let request = asked(&json!({ "verb": "get", "requestURI": "/version" }));
        assert_eq!(
            (request.resource.as_str(), request.group.as_str()),
            ("/version", "")
        );
    }
}
