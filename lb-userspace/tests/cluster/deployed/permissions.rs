//! The ClusterRole is what the agent needs: it asks for nothing else, may do nothing else, and names what it misses.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

use super::PATIENCE;
use super::cluster::{ACCOUNT, Cluster, eventually, test};

const NODE: usize = 0;

/// API group, resource, verb.
type Right = (String, String, String);

/// What any agent asks for. It also gets the objects that it has to say something about, if there are any.
const ASKED: [(&str, &str, &str); 9] = [
    ("", "nodes", "list"),
    ("", "nodes", "watch"),
    ("", "services", "list"),
    ("", "services", "watch"),
    ("discovery.k8s.io", "endpointslices", "list"),
    ("discovery.k8s.io", "endpointslices", "watch"),
    ("events.k8s.io", "events", "create"),
    ("networking.k8s.io", "servicecidrs", "list"),
    ("networking.k8s.io", "servicecidrs", "watch"),
];

#[test]
fn agents_ask_for_what_the_role_permits_and_for_nothing_else() -> Result<()> {
    test("asked", |cluster, _| {
        let right = |group: &str, resource: &str, verb: &str| {
            (group.to_owned(), resource.to_owned(), verb.to_owned())
        };
        let own = |node: &str| format!("fieldSelector=metadata.name%3D{node}");
        let selectors: Vec<String> = cluster.nodes.iter().map(|node| own(&node.name)).collect();
        let expected: BTreeSet<Right> = ASKED
            .map(|(group, resource, verb)| right(group, resource, verb))
            .into();
        let asked = eventually("all that an agent asks for", PATIENCE, || {
            let mut asked = BTreeSet::new();
            for request in cluster.control_plane.requests_of(ACCOUNT)? {
                let selects_one = selectors.iter().any(|own| request.uri.contains(own));
                assert!(request.resource != "nodes" || selects_one, "{request:?}");
                asked.insert((request.group, request.resource, request.verb));
            }
            Ok(asked.is_superset(&expected).then_some(asked))
        })?;
        let role = cluster.get("clusterrole lb")?;
        let mut permitted = BTreeSet::new();
        for rule in role["rules"].as_array().context("rules")? {
            let rule: PolicyRule = serde_json::from_value(rule.clone())?;
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    permitted.extend(rule.verbs.iter().map(|verb| right(group, resource, verb)));
                }
            }
        }
        let more: Vec<_> = asked.difference(&permitted).collect();
        assert!(more.is_empty(), "{more:?}");
        Ok(())
    })
}

#[test]
fn the_service_account_may_do_what_the_role_says_beyond_what_every_account_may() -> Result<()> {
    test("may", |cluster, namespace| {
        let may = |account: &str| -> Result<BTreeSet<String>> {
            let list = cluster.kubectl(&format!(
                "auth can-i --list --no-headers -n {namespace} --as={account}"
            ))?;
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            Ok(list.lines().map(words).collect())
        };
        let everybody = may("system:serviceaccount:kube-system:default")?;
        let agent = may(ACCOUNT)?;
        let more: Vec<&String> = agent.difference(&everybody).collect();
        let expected = [
            "endpointslices.discovery.k8s.io [] [] [get list watch]",
            "events.events.k8s.io [] [] [create]",
            "nodes [] [] [list watch]",
            "servicecidrs.networking.k8s.io [] [] [list watch]",
            "services [] [] [get list watch]",
        ];
        assert_eq!(more, expected);
        Ok(())
    })
}

#[test]
fn without_events_an_agent_says_so_once_and_lacks_nothing() -> Result<()> {
    test("no-events", |cluster, _| {
        let agent = without(cluster, "events")?;
        assert_told(cluster, &agent, "create", "events")?;
        let pod = format!("pod/{agent}");
        cluster.wait_for("kube-system", &pod, "condition=Ready")?;
        assert_watches(cluster, 4)?;
        serves(cluster)?;
        restored(cluster)
    })
}

#[test]
fn s_61_without_its_node_an_agent_says_so_once_serves_and_load_balancers_go_elsewhere() -> Result<()>
{
    test("no-nodes", |cluster, _| {
        let agent = without(cluster, "nodes")?;
        assert_told(cluster, &agent, "list", "nodes")?;
        assert_watches(cluster, 3)?;
        serves(cluster)?;
        let node = &cluster.nodes[NODE];
        assert_eq!(node.ask(10256, "/healthz")?.0, 503);
        assert_eq!(node.ask(10256, "/livez")?.0, 200);
        let pod = format!("pod/{agent}");
        cluster.wait_for("kube-system", &pod, "condition=Ready")?;
        restored(cluster)
    })
}

#[test]
fn s_30_d_without_service_cidrs_an_agent_says_so_once_and_serves() -> Result<()> {
    test("no-cidrs", |cluster, _| {
        let agent = without(cluster, "servicecidrs")?;
        assert_told(cluster, &agent, "list", "servicecidrs")?;
        let pod = format!("pod/{agent}");
        cluster.wait_for("kube-system", &pod, "condition=Ready")?;
        assert_watches(cluster, 3)?;
        serves(cluster)?;
        // What an earlier agent dropped is not known to be nobody's any more.
        let status = cluster.nodes[NODE].lb(&["status"])?;
        assert!(status.contains("cidrs       none"), "{status}");
        restored(cluster)?;
        assert_watches(cluster, 4)?;
        eventually("the ranges", PATIENCE, || {
            let status = cluster.nodes[NODE].lb(&["status"])?;
            Ok(status.contains("cidrs       10.96.").then_some(()))
        })
    })
}

#[test]
fn without_services_or_slices_an_agent_says_so_once_and_goes_on_with_what_was_written_before()
-> Result<()> {
    test("no-services", |cluster, _| {
        for resource in ["services", "endpointslices"] {
            let agent = without(cluster, resource)?;
            assert_told(cluster, &agent, "list", resource)?;
            assert_watches(cluster, 3)?;
            serves(cluster)?;
            let (code, body) = cluster.nodes[NODE].ask(10256, "/livez")?;
            assert_eq!(code, 200, "it is not restarted for it: {body}");
            let (code, body) = cluster.nodes[NODE].ask(10256, "/livez?written")?;
            assert_eq!(code, 503, "no rollout goes on from here: {body}");
            restored(cluster)?;
            assert_watches(cluster, 4)?;
            assert_eq!(cluster.agent(NODE)?, agent);
        }
        Ok(())
    })
}

/// Takes a rule out of the role and replaces the agent of a node, whose watches would go on otherwise. Returns its name.
fn without(cluster: &mut Cluster, resource: &str) -> Result<String> {
    cluster.must_be_deployed_anew();
    let role = cluster.get("clusterrole lb")?;
    let rules = role["rules"].as_array().context("rules")?;
    let index = rules
        .iter()
        .position(|rule| rule["resources"][0] == resource);
    let index = index.with_context(|| format!("no rule for {resource}"))?;
    let patch = format!("[{{\"op\":\"remove\",\"path\":\"/rules/{index}\"}}]");
    cluster.kubectl(&format!("patch clusterrole lb --type=json -p {patch}"))?;
    let group = rules[index]["apiGroups"][0].as_str().unwrap_or_default();
    let verb = rules[index]["verbs"][0].as_str().unwrap_or_default();
    let what = format!("{resource}.{group}");
    eventually("the role to count", PATIENCE, || {
        let may = cluster.kubectl(&format!(
            "auth can-i {verb} {} --as={ACCOUNT}",
            what.trim_end_matches('.')
        ));
        // `no` is a failure of the command.
        Ok(may.is_err().then_some(()))
    })?;
    cluster.replace_agent(NODE)
}

/// Waits until the node's agent says that it watches so many kinds of objects.
fn assert_watches(cluster: &Cluster, kinds: usize) -> Result<()> {
    eventually(&format!("{kinds} watches"), PATIENCE, || {
        let (_, metrics) = cluster.nodes[NODE].ask(10249, "/metrics")?;
        let watched =
            |line: &&str| line.starts_with("lb_source_connected{") && line.ends_with(" 1");
        let count = metrics.lines().filter(watched).count();
        Ok((count == kinds).then_some(()))
    })
}

/// Holds that one line of an agent's log, and only one, names what it may not do.
fn assert_told(cluster: &Cluster, agent: &str, verb: &str, resource: &str) -> Result<()> {
    let words = [
        "WARN".to_owned(),
        format!("cannot {verb} resource \"{resource}\""),
    ];
    let told = |log: &str| -> Vec<String> {
        let lines = log.lines();
        lines
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .map(str::to_owned)
            .collect()
    };
    let lines = eventually(&format!("a line with {words:?}"), PATIENCE, || {
        let lines = told(&cluster.log(NODE, agent)?.replace("\\\"", "\""));
        Ok((!lines.is_empty()).then_some(lines))
    })?;
    println!("{}", lines[0]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let times = lines[0].matches(&words[1]).count();
    assert_eq!(times, 1, "said once: {}", lines[0]);
    Ok(())
}

fn serves(cluster: &Cluster) -> Result<()> {
    cluster.shop.as_ref().context("no shop")?.assert_is_served()
}

/// Gives the role all its rules again.
fn restored(cluster: &Cluster) -> Result<()> {
    cluster.apply_kustomization()?;
    let role: Value = cluster.get("clusterrole lb")?;
    assert_eq!(role["rules"].as_array().map(Vec::len), Some(5));
    Ok(())
}
