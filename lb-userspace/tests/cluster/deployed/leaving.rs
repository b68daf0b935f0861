//! Agents that go: for others that come, and for good.

use anyhow::Result;
use lab::client::{Kind, http_get};

use super::PATIENCE;
use super::cluster::{eventually, test};

#[test]
fn a_daemon_set_that_is_restarted_costs_neither_new_nor_kept_connections() -> Result<()> {
    test("restart", |cluster, _| {
        let shop = cluster.shop.take().expect("the shop is open");
        let before = [cluster.agent(0)?, cluster.agent(1)?];
        let loads = shop.load(&[Kind::Http, Kind::KeepAlive])?;
        cluster.kubectl("-n kube-system rollout restart daemonset/lb")?;
        cluster.wait_for_rollout("kube-system", "daemonset/lb")?;
        for (node, before) in before.iter().enumerate() {
            assert_ne!(cluster.agent(node)?, *before);
        }
        loads.wait_for_more(20)?;
        println!("{} requests", loads.stop_without_errors());
        shop.assert_is_served()?;
        cluster.shop = Some(shop);
        Ok(())
    })
}

#[test]
fn what_the_agents_have_written_is_served_without_them_until_it_is_cleaned_up_on_each_node()
-> Result<()> {
    test("leaving", |cluster, _| {
        let shop = cluster.shop.take().expect("the shop is open");
        let loads = shop.load(&[Kind::Http, Kind::KeepAlive])?;
        cluster.delete_kustomization()?;
        eventually("the end of the agents", PATIENCE, || {
            let pods = cluster.get("-n kube-system pods -l app.kubernetes.io/name=lb")?;
            let none = pods["items"].as_array().is_some_and(Vec::is_empty);
            Ok(none.then_some(()))
        })?;
        for node in &cluster.nodes {
            assert!(node.agent_process().is_err(), "{}", node.name);
            let status = node.lb(&["status", "-o", "json"])?;
            let status: serde_json::Value = serde_json::from_str(&status)?;
            assert_eq!(status["agent_running"], false, "{status}");
        }
        loads.wait_for_more(20)?;
        println!("{} requests", loads.stop_without_errors());

        for node in &cluster.nodes {
            node.lb(&["cleanup"])?;
            assert!(!node.bpffs.join("lb").exists(), "pins on {}", node.name);
        }
        for client in &shop.clients {
            for to in shop.at {
                let answer = http_get(&client.netns, to);
                assert!(answer.is_err(), "{to}: nobody serves it any more");
            }
        }
        // Applied again it is as if nothing had been.
        cluster.deploy()?;
        shop.assert_is_served()?;
        cluster.shop = Some(shop);
        Ok(())
    })
}
