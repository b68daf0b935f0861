//! What load balancers in front of the nodes are told of a node that is about to go (S-61).

use anyhow::Result;

use super::PATIENCE;
use super::cluster::{Node, eventually, test};

const NODE: usize = 1;

#[test]
fn s_61_a_node_that_the_autoscaler_will_delete_is_not_healthy_and_its_agent_lives() -> Result<()> {
    test("taint", |cluster, _| {
        let node = &cluster.nodes[NODE];
        let agent = cluster.agent(NODE)?;
        let taint = "ToBeDeletedByClusterAutoscaler";
        cluster.kubectl(&format!("taint node {} {taint}=1:NoSchedule", node.name))?;
        wait_for_health(node, 503)?;
        cluster.kubectl(&format!("taint node {} {taint}-", node.name))?;
        wait_for_health(node, 200)?;
        assert_eq!(cluster.agent(NODE)?, agent, "it was not replaced");
        cluster.wait_for_rollout("kube-system", "daemonset/lb")
    })
}

#[test]
fn s_61_a_rollout_goes_on_past_a_node_that_the_autoscaler_will_delete() -> Result<()> {
    test("rollout", |cluster, _| {
        let node = &cluster.nodes[NODE];
        let before = [cluster.agent(0)?, cluster.agent(1)?];
        let taint = "ToBeDeletedByClusterAutoscaler";
        cluster.kubectl(&format!("taint node {} {taint}=1:NoSchedule", node.name))?;
        wait_for_health(node, 503)?;
        cluster.kubectl("-n kube-system rollout restart daemonset/lb")?;
        cluster.wait_for_rollout("kube-system", "daemonset/lb")?;
        for (node, before) in before.iter().enumerate() {
            assert_ne!(cluster.agent(node)?, *before, "it was replaced");
        }
        wait_for_health(node, 503)?;
        cluster.kubectl(&format!("taint node {} {taint}-", node.name))?;
        wait_for_health(node, 200)
    })
}

#[test]
fn s_61_a_node_that_is_being_deleted_or_gone_is_not_healthy_until_it_is_registered_again()
-> Result<()> {
    test("deleted", |cluster, _| {
        let node = &cluster.nodes[NODE];
        let patch = |finalizers: &str| {
            let patch = format!("{{\"metadata\":{{\"finalizers\":{finalizers}}}}}");
            cluster.kubectl(&format!("patch node {} --type=merge -p {patch}", node.name))
        };
        patch("[\"example.com/held\"]")?;
        cluster.kubectl(&format!("delete node {} --wait=false", node.name))?;
        wait_for_health(node, 503)?;
        patch("null")?;
        cluster.kubectl(&format!(
            "wait node/{} --for=delete --timeout=30s",
            node.name
        ))?;
        wait_for_health(node, 503)?;
        if let Some(shop) = &cluster.shop {
            shop.assert_is_served()?;
        }
        cluster.register(NODE)?;
        wait_for_health(node, 200)?;
        cluster.wait_for_rollout("kube-system", "daemonset/lb")
    })
}

/// Waits until `/healthz` answers so; `/livez` never is anything but fine.
fn wait_for_health(node: &Node, expected: u16) -> Result<()> {
    eventually(&format!("/healthz to answer {expected}"), PATIENCE, || {
        let (code, _) = node.ask(10256, "/healthz")?;
        Ok((code == expected).then_some(()))
    })?;
    let (code, body) = node.ask(10256, "/livez")?;
    assert_eq!(code, 200, "{body}");
    Ok(())
}
