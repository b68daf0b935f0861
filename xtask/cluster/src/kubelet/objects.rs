//! What the kubelet asks the API for on behalf of a pod: ConfigMaps, Secrets, tokens, the address of the API itself. Pods
//! and the Node are `watch`'s, `status`'s and `node`'s.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Pod, Secret, Service, ServiceAccount, ServiceAccountTokenProjection,
};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use super::not_yet::NotYet;

/// How long a token is good for, in seconds, where the pod does not say.
const TOKEN_LIFE: i64 = 3607;

/// Named contents of a ConfigMap or Secret.
pub(super) type Contents = BTreeMap<String, Vec<u8>>;

/// The API, as a pod's containers need it.
#[derive(Clone)]
pub(super) struct Objects {
    client: Client,
}

impl Objects {
    pub fn new(client: Client) -> Objects {
        Objects { client }
    }

    /// The contents of a ConfigMap; none where it is optional and not there.
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Contents, NotYet> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(name).await.map_err(NotYet::config)?;
        let Some(map) = found else {
            return missing("ConfigMap", namespace, name, optional);
        };
        let text = map.data.unwrap_or_default().into_iter();
        let binary = map.binary_data.unwrap_or_default().into_iter();
        Ok(text
            .map(|(key, value)| (key, value.into_bytes()))
            .chain(binary.map(|(key, value)| (key, value.0)))
            .collect())
    }

    /// The contents of a Secret; none where it is optional and not there.
    pub async fn secret(
        &self,
        namespace: &str,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Contents, NotYet> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match api.get_opt(name).await.map_err(NotYet::config)? {
            None => missing("Secret", namespace, name, optional),
            Some(secret) => Ok(secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, value.0))
                .collect()),
        }
    }

    /// A token of the pod's ServiceAccount, good only as long as the pod is there.
    pub async fn token(
        &self,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<String, NotYet> {
        let namespace = pod.namespace().unwrap_or_default();
        let account = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or("default");
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: projection.audience.clone().into_iter().collect(),
                expiration_seconds: projection.expiration_seconds.or(Some(TOKEN_LIFE)),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            },
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &namespace);
        let answer = api
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .map_err(NotYet::config)?;
        answer
            .status
            .map(|status| status.token)
            .ok_or_else(|| NotYet::config("the API answered a token request without a token"))
    }

    /// What every container is told of the API itself: the Service `kubernetes`. Nothing while there is none.
    pub async fn api_variables(&self) -> Vec<(String, String)> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), "default");
        let Ok(Some(service)) = api.get_opt("kubernetes").await else {
            return Vec::new();
        };
        let spec = service.spec.unwrap_or_default();
        let address = spec.cluster_ip.unwrap_or_default();
        let port = spec
            .ports
            .unwrap_or_default()
            .first()
            .map_or(443, |port| port.port);
        vec![
            ("KUBERNETES_SERVICE_HOST".into(), address),
            ("KUBERNETES_SERVICE_PORT".into(), port.to_string()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".into(), port.to_string()),
        ]
    }
}

fn missing(
    kind: &str,
    namespace: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Contents, NotYet> {
    if optional == Some(true) {
        return Ok(Contents::new());
    }
    Err(NotYet::config(format!(
        "there is no {kind} {namespace}/{name}: create it, or mark the reference as optional"
    )))
}
