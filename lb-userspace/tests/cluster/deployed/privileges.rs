//! What the manifests say is what the agent has: no more, and no less.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::PATIENCE;
use super::cluster::{ACCOUNT, Cluster, eventually, field, test};

/// Numbers of `include/uapi/linux/capability.h` for those that the DaemonSet may add.
const CAPABILITIES: [(&str, u32); 4] = [
    ("NET_ADMIN", 12),
    ("SYS_RESOURCE", 24),
    ("PERFMON", 38),
    ("BPF", 39),
];

#[test]
fn every_node_gets_a_ready_agent_that_answers_probes_and_scrapes() -> Result<()> {
    test("ready", |cluster, _| {
        let agents = cluster.agents()?;
        let mut nodes: Vec<&str> = agents
            .iter()
            .filter_map(|agent| agent["spec"]["nodeName"].as_str())
            .collect();
        nodes.sort_unstable();
        let expected: Vec<&str> = cluster
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(nodes, expected);
        for agent in &agents {
            let status = &agent["status"];
            let container = &status["containerStatuses"][0];
            assert_eq!(
                (
                    &status["phase"],
                    &container["ready"],
                    &container["restartCount"]
                ),
                (&"Running".into(), &true.into(), &0.into()),
                "{status}"
            );
        }
        for node in &cluster.nodes {
            for path in ["/healthz", "/livez", "/livez?written"] {
                let (code, body) = node.ask(10256, path)?;
                assert_eq!(code, 200, "{path}: {body}");
            }
            // After the other tests its last try may be a while ago.
            eventually("all watches", PATIENCE, || {
                let (_, metrics) = node.ask(10249, "/metrics")?;
                let is_watched = |kind: &str| {
                    metrics.contains(&format!("lb_source_connected{{resource=\"{kind}\"}} 1"))
                };
                let all = ["Service", "EndpointSlice", "Node"]
                    .into_iter()
                    .all(is_watched);
                Ok(all.then_some(()))
            })?;
        }
        Ok(())
    })
}

#[test]
fn an_agent_has_exactly_the_capabilities_arguments_and_variables_of_the_manifest() -> Result<()> {
    test("exactly", |cluster, _| {
        let set = cluster.get("-n kube-system daemonset lb")?;
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        let added = &container["securityContext"]["capabilities"]["add"];
        let added = mask(added.as_array().context("no capabilities")?)?;
        for node in &cluster.nodes {
            let process = node.agent_process()?.to_string();
            let of_process = |name: &str| field(&process, name).context(name.to_owned());
            for name in ["CapPrm", "CapEff", "CapBnd"] {
                assert_eq!(of_process(name)?, format!("{added:016x}"), "{name}");
            }
            for name in ["CapInh", "CapAmb"] {
                assert_eq!(of_process(name)?, format!("{:016x}", 0), "{name}");
            }
            assert_eq!(of_process("NoNewPrivs")?, "1");
            assert_eq!(of_process("Uid")?, "0\t0\t0\t0");

            let line = fs::read(format!("/proc/{process}/cmdline"))?;
            let words = String::from_utf8(line)?;
            let words: Vec<&str> = words.split_terminator('\0').skip(1).collect();
            assert_eq!(container["args"], Value::from(words));

            let variables = variables(&process)?;
            for (name, value) in expected_variables(cluster, container, &node.name)? {
                assert_eq!(variables.get(&name), Some(&value), "{name}");
            }
            assert_eq!(variables["LB_API_SERVER"], cluster.api_server());
            assert_mounts(&process)?;
        }
        Ok(())
    })
}

#[test]
fn an_agent_has_the_token_of_its_service_account_and_no_other_credentials() -> Result<()> {
    test("token", |cluster, _| {
        for node in &cluster.nodes {
            let process = node.agent_process()?.to_string();
            let folder = "run/secrets/kubernetes.io/serviceaccount";
            let token = fs::read_to_string(format!("/proc/{process}/root/{folder}/token"))?;
            let payload = token.split('.').nth(1).context("a token of three parts")?;
            let claims: Value = serde_json::from_slice(&decoded(payload)?)?;
            assert_eq!(claims["sub"], ACCOUNT);
            assert_eq!(
                claims["kubernetes.io"]["node"]["name"].as_str(),
                Some(node.name.as_str()),
                "{claims}"
            );
            assert!(!variables(&process)?.contains_key("KUBECONFIG"));
        }
        Ok(())
    })
}

fn mask(names: &[Value]) -> Result<u64> {
    let bit = |name: &Value| {
        let known = CAPABILITIES.iter().find(|(known, _)| *name == *known);
        let (_, number) = known.with_context(|| format!("what number has {name}?"))?;
        Ok(1_u64 << number)
    };
    names.iter().map(bit).sum()
}

/// Of `env` and of the ConfigMap.
fn expected_variables(
    cluster: &Cluster,
    container: &Value,
    node: &str,
) -> Result<BTreeMap<String, String>> {
    let map = cluster.get("-n kube-system configmap lb")?;
    let mut expected: BTreeMap<String, String> = serde_json::from_value(map["data"].clone())?;
    for variable in container["env"].as_array().context("env")? {
        let name = variable["name"].as_str().context("a name")?;
        // The one field that the manifest asks for is the node's name.
        let value = variable["value"].as_str().unwrap_or(node);
        expected.insert(name.to_owned(), value.to_owned());
    }
    Ok(expected)
}

fn variables(process: &str) -> Result<BTreeMap<String, String>> {
    let text = String::from_utf8(fs::read(format!("/proc/{process}/environ"))?)?;
    let pairs = text
        .split_terminator('\0')
        .filter_map(|pair| pair.split_once('='));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Holds that the pins are the one thing of the node that the agent can write to.
fn assert_mounts(process: &str) -> Result<()> {
    let text = fs::read_to_string(format!("/proc/{process}/mountinfo"))?;
    for (at, kind, options) in [
        ("/", "", "ro"),
        ("/run/lb/bpf", "bpf", "rw"),
        ("/run/lb/cgroup", "cgroup2", "ro"),
    ] {
        // The last one at a place covers the others.
        let mount = text.lines().rev().find_map(|line| {
            let (place, system) = line.split_once(" - ")?;
            let words: Vec<&str> = place.split(' ').collect();
            (words.get(4) == Some(&at)).then(|| (words[5].to_owned(), system.to_owned()))
        });
        let (flags, system) = mount.with_context(|| format!("nothing is mounted at {at}"))?;
        ensure!(
            flags.split(',').next() == Some(options) && system.starts_with(kind),
            "{at}: {flags} {system}"
        );
    }
    Ok(())
}

/// Base64 as in tokens: without padding, with `-` and `_`.
fn decoded(text: &str) -> Result<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut count, mut octets) = (0_u32, 0, Vec::new());
    for letter in text.bytes() {
        let digit = DIGITS.iter().position(|known| *known == letter);
        let digit = digit.with_context(|| format!("{letter} is no digit"))?;
        bits = bits << 6 | u32::try_from(digit)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push((bits >> count & 0xff) as u8);
        }
    }
    Ok(octets)
}
