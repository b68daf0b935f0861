//! A container's variables, from values, fields of its pod and contents of ConfigMaps and Secrets, and `$(NAME)` in its
//! command. Knows no variables of Services other than the API's own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kube::ResourceExt;

use super::not_yet::NotYet;
use super::objects::{Contents, Objects};

/// Where programs are found.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a pod's manifest cannot say of it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The name of its node.
    pub node: String,
    /// What the pod calls itself.
    pub hostname: String,
    /// The pod's addresses, IPv4 first.
    pub pod_ips: [IpAddr; 2],
    /// The node's addresses, IPv4 first.
    pub host_ips: [IpAddr; 2],
}

/// Variables in order: a later one of the same name wins.
pub(super) type Variables = Vec<(String, String)>;

/// All variables of a container.
///
/// # Errors
/// When an object or field that a variable comes from is not there.
pub(super) async fn variables(
    objects: &Objects,
    pod: &Pod,
    container: &Container,
    facts: &Facts,
) -> Result<Variables, NotYet> {
    let mut variables = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
        ("HOSTNAME".to_owned(), facts.hostname.clone()),
    ];
    variables.extend(objects.api_variables().await);
    let namespace = pod.namespace().unwrap_or_default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        let contents = if let Some(map) = &source.config_map_ref {
            objects
                .config_map(&namespace, &map.name, map.optional)
                .await?
        } else if let Some(secret) = &source.secret_ref {
            objects
                .secret(&namespace, &secret.name, secret.optional)
                .await?
        } else {
            Contents::new()
        };
        variables.extend(
            contents
                .into_iter()
                .map(|(key, value)| (format!("{prefix}{key}"), text(value))),
        );
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(objects, pod, variable, facts, &variables).await? {
            variables.push((variable.name.clone(), value));
        }
    }
    Ok(variables)
}

/// `$(NAME)` becomes the variable's value and `$$` a dollar; a name that there is not stays as it is.
pub(super) fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        expanded.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
        {
            let found = variables.iter().rev().find(|(known, _)| known == name);
            match found {
                Some((_, value)) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

/// A field of the pod, by the path that a `fieldRef` gives.
///
/// # Errors
/// When pods have no such field.
pub(super) fn field(pod: &Pod, path: &str, facts: &Facts) -> Result<String, NotYet> {
    let both = |ips: [IpAddr; 2]| format!("{},{}", ips[0], ips[1]);
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => facts.node.clone(),
        "spec.serviceAccountName" => pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default(),
        "status.podIP" => facts.pod_ips[0].to_string(),
        "status.podIPs" => both(facts.pod_ips),
        "status.hostIP" => facts.host_ips[0].to_string(),
        "status.hostIPs" => both(facts.host_ips),
        _ => subscripted(pod, path).ok_or_else(|| {
            NotYet::config(format!("the pod has no field {path}: correct the fieldRef"))
        })?,
    })
}

async fn value(
    objects: &Objects,
    pod: &Pod,
    variable: &EnvVar,
    facts: &Facts,
    before: &[(String, String)],
) -> Result<Option<String>, NotYet> {
    let Some(source) = &variable.value_from else {
        let value = variable.value.as_deref().unwrap_or_default();
        return Ok(Some(expand(value, before)));
    };
    let namespace = pod.namespace().unwrap_or_default();
    let (mut contents, key, optional) = if let Some(reference) = &source.field_ref {
        return field(pod, &reference.field_path, facts).map(Some);
    } else if let Some(reference) = &source.config_map_key_ref {
        let contents = objects
            .config_map(&namespace, &reference.name, reference.optional)
            .await?;
        (contents, &reference.key, reference.optional)
    } else if let Some(reference) = &source.secret_key_ref {
        let contents = objects
            .secret(&namespace, &reference.name, reference.optional)
            .await?;
        (contents, &reference.key, reference.optional)
    } else {
        return Err(NotYet::config(format!(
            "the variable {} comes from something that this kubelet does not know: use fieldRef, configMapKeyRef or \
             secretKeyRef",
            variable.name
        )));
    };
    match contents.remove(key) {
        Some(value) => Ok(Some(text(value))),
        None if optional == Some(true) => Ok(None),
        None => Err(NotYet::config(format!(
            "there is no key {key} for the variable {}",
            variable.name
        ))),
    }
}

/// `metadata.labels['KEY']` and `metadata.annotations['KEY']`; empty where the pod has no such key.
fn subscripted(pod: &Pod, path: &str) -> Option<String> {
    let (field, key) = path.strip_suffix("']")?.split_once("['")?;
    let map = match field {
        "metadata.labels" => pod.labels(),
        "metadata.annotations" => pod.annotations(),
        _ => return None,
    };
    Some(map.get(key).cloned().unwrap_or_default())
}

fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter()
        .map(|(key, value)| format!("{key}={value:?}\n"))
        .collect()
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8_lossy(&value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_brackets_are_expanded() {
        let variables = [("A", "old"), ("A", "1"), ("B", "2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (text, expected) in [
            ("plain", "plain"),
            ("$(A)$(B)", "12"),
            ("x$(C)y", "x$(C)y"),
            ("$$(A)", "$(A)"),
            ("$HOME $", "$HOME $"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_path() {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".into());
        pod.labels_mut().insert("app".into(), "shop".into());
        let ips = ["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let facts = Facts {
            node: "node1".into(),
            hostname: "web".into(),
            pod_ips: ips,
            host_ips: ips,
        };
        for (path, expected) in [
            ("metadata.name", "web"),
            ("metadata.labels['app']", "shop"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "app=\"shop\"\n"),
            ("spec.nodeName", "node1"),
            ("status.podIPs", "10.244.1.2,fd00::2"),
        ] {
            assert_eq!(field(&pod, path, &facts).as_deref(), Ok(expected), "{path}");
        }
        assert!(field(&pod, "metadata.colour", &facts).is_err());
    }
}
