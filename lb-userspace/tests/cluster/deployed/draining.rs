//! Pods that end while they are asked: nobody is refused, as long as the pod serves on until the nodes have heard of its end.

use anyhow::Result;
use lab::client::Kind;

use super::cluster::test;
use super::shop::{NAMESPACE, Shop};

#[test]
fn pods_that_are_deleted_one_after_the_other_under_load_cost_no_request() -> Result<()> {
    test("draining", |cluster, _| {
        let shop = cluster.shop.take().expect("the shop is open");
        let before = Shop::pods(cluster)?;
        let loads = shop.load(&[Kind::Http])?;
        for pod in &before {
            cluster.kubectl(&format!("-n {NAMESPACE} delete pod {pod}"))?;
            cluster.wait_for_rollout(NAMESPACE, "deployment/shop")?;
        }
        loads.wait_for_more(20)?;
        println!("{} requests", loads.stop_without_errors());
        let after = Shop::pods(cluster)?;
        assert!(after.iter().all(|pod| !before.contains(pod)), "{after:?}");
        shop.assert_is_served()?;
        cluster.shop = Some(shop);
        Ok(())
    })
}

#[test]
fn a_deployment_that_is_restarted_under_load_costs_no_request() -> Result<()> {
    test("restarting", |cluster, _| {
        let shop = cluster.shop.take().expect("the shop is open");
        let before = Shop::pods(cluster)?;
        let loads = shop.load(&[Kind::Http])?;
        cluster.kubectl(&format!("-n {NAMESPACE} rollout restart deployment/shop"))?;
        cluster.wait_for_rollout(NAMESPACE, "deployment/shop")?;
        for pod in &before {
            cluster.wait_for(NAMESPACE, &format!("pod/{pod}"), "delete")?;
        }
        loads.wait_for_more(20)?;
        println!("{} requests", loads.stop_without_errors());
        shop.assert_is_served()?;
        cluster.shop = Some(shop);
        Ok(())
    })
}
