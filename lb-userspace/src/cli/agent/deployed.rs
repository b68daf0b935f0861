//! The manifests of `deploy/kubernetes` against the API's types, and against what the agent takes, asks for and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Probe, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::Cli;
use crate::preflight::Capabilities;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The objects of all manifests, by kind.
fn objects() -> BTreeMap<String, Value> {
    let mut objects = BTreeMap::new();
    for entry in fs::read_dir(folder().join("kubernetes")).expect("deploy/kubernetes") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a manifest");
        for document in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).expect("YAML");
            let kind = object["kind"].as_str().expect("a kind").to_owned();
            let before = objects.insert(kind.clone(), object);
            assert!(before.is_none(), "two of {kind}");
        }
    }
    objects
}

/// An object as the API's type, which must know each of its fields.
fn object<T: DeserializeOwned + Serialize>(kind: &str) -> T {
    let written = objects().remove(kind).expect(kind);
    let object: T = serde_json::from_value(written.clone()).expect(kind);
    let mut known = serde_json::to_value(&object).expect("JSON");
    // The type itself does not hold these two.
    for field in ["kind", "apiVersion"] {
        known[field] = written[field].clone();
    }
    assert_eq!(known, written, "a field of {kind} is not the API's");
    object
}

fn pod() -> PodSpec {
    let daemon_set: DaemonSet = object("DaemonSet");
    let spec = daemon_set.spec.expect("spec");
    assert_eq!(
        spec.selector.match_labels,
        spec.template.metadata.expect("metadata").labels,
        "the selector and the labels of the pods"
    );
    spec.template.spec.expect("a pod")
}

fn container() -> Container {
    let mut containers = pod().containers;
    assert_eq!(containers.len(), 1);
    containers.remove(0)
}

/// The variables of the container and of the ConfigMap.
fn variables() -> BTreeMap<String, String> {
    let map: ConfigMap = object("ConfigMap");
    let mut variables = map.data.expect("data");
    for variable in container().env.expect("env") {
        variables.insert(variable.name, variable.value.unwrap_or("node-1".into()));
    }
    variables
}

#[test]
fn every_manifest_is_of_a_kind_and_form_that_the_api_knows() {
    let kinds: Vec<String> = objects().into_keys().collect();
    assert_eq!(
        kinds,
        [
            "ClusterRole",
            "ClusterRoleBinding",
            "ConfigMap",
            "DaemonSet",
            "Kustomization",
            "ServiceAccount"
        ]
    );
    let account: ServiceAccount = object("ServiceAccount");
    let binding: ClusterRoleBinding = object("ClusterRoleBinding");
    let subjects = binding.subjects.expect("subjects");
    let subject = (subjects[0].name.clone(), subjects[0].namespace.clone());
    let name = account.metadata.name.expect("a name");
    assert_eq!(subject, (name.clone(), account.metadata.namespace));
    assert_eq!(pod().service_account_name, Some(name));
    let map: ConfigMap = object("ConfigMap");
    let sources = container().env_from.expect("envFrom");
    let source = sources[0].config_map_ref.as_ref().expect("a ConfigMap");
    assert_eq!(Some(&source.name), map.metadata.name.as_ref());
}

#[test]
fn the_role_permits_what_the_agent_asks_for_and_no_more() {
    let role: ClusterRole = object("ClusterRole");
    let mut permitted: Vec<String> = Vec::new();
    for rule in role.rules.expect("rules") {
        for group in rule.api_groups.expect("groups") {
            for resource in rule.resources.iter().flatten() {
                permitted.push(format!("{group}/{resource}: {}", rule.verbs.join(" ")));
            }
        }
    }
    permitted.sort();
    assert_eq!(
        permitted,
        [
            "/nodes: list watch",
            "/services: get list watch",
            "discovery.k8s.io/endpointslices: get list watch",
            "events.k8s.io/events: create",
            "networking.k8s.io/servicecidrs: list watch",
        ]
    );
}

#[test]
fn the_capabilities_are_those_without_which_the_agent_does_not_start() {
    let security = container().security_context.expect("securityContext");
    let capabilities = security.capabilities.expect("capabilities");
    assert_eq!(capabilities.drop, Some(vec!["ALL".to_owned()]));
    let added: BTreeSet<String> = capabilities
        .add
        .expect("add")
        .into_iter()
        .map(|name| format!("CAP_{name}"))
        .collect();
    let needed = Capabilities(0).missing().into_iter().map(str::to_owned);
    assert_eq!(added, needed.collect());
    assert_eq!(security.privileged, Some(false));
    assert_eq!(security.allow_privilege_escalation, Some(false));
    assert_eq!(security.read_only_root_filesystem, Some(true));
}

#[test]
fn the_command_line_and_every_variable_are_known_to_the_agent() {
    let mut known = BTreeMap::new();
    let command = Cli::command();
    let agent = command.find_subcommand("agent").expect("lb agent");
    for argument in command.get_arguments().chain(agent.get_arguments()) {
        if let (Some(variable), Some(flag)) = (argument.get_env(), argument.get_long()) {
            known.insert(variable.to_string_lossy().into_owned(), flag.to_owned());
        }
    }
    let mut line = vec!["lb".to_owned()];
    line.extend(container().args.expect("args"));
    for (variable, value) in variables() {
        let flag = known.get(&variable).unwrap_or_else(|| {
            panic!("{variable} is none of the agent's: {:?}", known.keys());
        });
        line.push(format!("--{flag}={value}"));
    }
    <Cli as clap::Parser>::try_parse_from(&line)
        .unwrap_or_else(|error| panic!("{line:?}: {error}"));
}

/// Whatever may differ between clusters is set by the ConfigMap. Where Services come from otherwise is not: it takes a file.
#[test]
fn every_option_has_a_variable() {
    let command = Cli::command();
    let agent = command.find_subcommand("agent").expect("lb agent");
    let without: Vec<&str> = agent
        .get_arguments()
        .filter(|argument| argument.get_env().is_none())
        .filter_map(|argument| argument.get_long())
        .collect();
    assert_eq!(without, ["manifests", "kubeconfig"]);
}

#[test]
fn s_61_the_probes_ask_where_the_agent_answers_and_never_of_the_node() {
    let variables = variables();
    let address: std::net::SocketAddr = variables["LB_HEALTHZ_BIND_ADDRESS"]
        .parse()
        .expect("an address");
    let container = container();
    let check = |probe: Option<Probe>, path: &str| {
        let get = probe.and_then(|probe| probe.http_get).expect("httpGet");
        assert_eq!(get.path.as_deref(), Some(path));
        assert_eq!(
            serde_json::to_value(get.port).expect("JSON"),
            Value::from(address.port())
        );
    };
    check(container.liveness_probe, "/livez");
    check(container.readiness_probe, "/livez?written");
    let ports = container.ports.expect("ports");
    assert_eq!(ports[0].container_port, i32::from(address.port()));
}

#[test]
fn the_pod_is_on_every_node_and_its_pins_are_the_nodes() {
    let pod = pod();
    assert_eq!(pod.host_network, Some(true));
    assert_eq!(
        pod.priority_class_name.as_deref(),
        Some("system-node-critical")
    );
    let toleration = &pod.tolerations.as_ref().expect("tolerations")[0];
    assert_eq!(
        (
            toleration.operator.as_deref(),
            &toleration.key,
            &toleration.effect
        ),
        (Some("Exists"), &None, &None)
    );
    let volumes = pod.volumes.expect("volumes");
    let shown: BTreeMap<String, String> = container()
        .volume_mounts
        .expect("volumeMounts")
        .into_iter()
        .map(|mount| {
            let volume = volumes.iter().find(|volume| volume.name == mount.name);
            let path = volume.and_then(|volume| volume.host_path.as_ref());
            (mount.mount_path, path.expect("a hostPath").path.clone())
        })
        .collect();
    let variables = variables();
    assert_eq!(shown[&variables["LB_BPFFS"]], "/sys/fs/bpf");
    assert_eq!(shown[&variables["LB_CGROUP"]], "/sys/fs/cgroup");
    assert_eq!(shown.len(), 2, "nothing else of the node is shown");
}
