//! Kubeconfigs: who one is for the API server, and where it is reached. They are written as JSON, which is YAML too.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::certificates::{Authority, SERVER_NAME};

/// Whom the API server sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A user of the group `system:masters`, who may do everything.
    Admin,
    /// A user with a certificate, such as `system:node:node1` in the group `system:nodes`.
    User {
        /// The name that RBAC knows.
        name: String,
        /// The group that RBAC knows.
        group: Option<String>,
    },
    /// The bearer of a token, such as one of [`ControlPlane::service_account_token`](crate::ControlPlane).
    Token(String),
}

impl Identity {
    /// A user in no group.
    pub fn user(name: &str) -> Identity {
        Identity::User {
            name: name.to_owned(),
            group: None,
        }
    }

    /// A node's kubelet, as the node authorizer knows it.
    pub fn node(name: &str) -> Identity {
        Identity::User {
            name: format!("system:node:{name}"),
            group: Some("system:nodes".to_owned()),
        }
    }

    fn credentials(&self, authority: &Authority) -> Result<Value> {
        let certified = match self {
            Identity::Token(token) => return Ok(json!({ "token": token })),
            Identity::Admin => authority.client("admin", Some("system:masters")),
            Identity::User { name, group } => authority.client(name, group.as_deref()),
        };
        let certified =
            certified.with_context(|| format!("cannot make a certificate for {self:?}"))?;
        Ok(json!({
            "client-certificate-data": ByteString(certified.certificate.into()),
            "client-key-data": ByteString(certified.key.into()),
        }))
    }
}

/// A kubeconfig for `identity` that finds the API server at `server`.
pub(crate) fn write(
    authority: &Authority,
    identity: &Identity,
    server: SocketAddr,
) -> Result<Value> {
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "cluster", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority-data": ByteString(authority.pem().into()),
            // The certificate cannot know at which address a relay listens.
            "tls-server-name": SERVER_NAME,
        }}],
        "users": [{ "name": "user", "user": identity.credentials(authority)? }],
        "contexts": [{ "name": "cluster", "context": { "cluster": "cluster", "user": "user" } }],
        "current-context": "cluster",
    }))
}

/// The configuration of a client with this kubeconfig.
pub(crate) async fn client_config(kubeconfig: Value) -> Result<kube::Config> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig)?;
    Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?)
}
