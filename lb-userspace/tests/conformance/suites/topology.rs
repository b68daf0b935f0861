//! The list of `topology_hints.go`, and its body: hints by the annotation `topology-mode: Auto`.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1;
use serde_json::json;

use crate::case::{Case, Pod, all_ready};
use crate::cluster::Cluster;
use crate::suite::Port::Whole;
use crate::suite::{Suite, test};
use crate::traffic::Http;

pub fn suite() -> Suite {
    Suite {
        title: "Topology Hints",
        file: "topology_hints.go",
        tests: vec![test("should distribute endpoints evenly", Whole(evenly))],
    }
}

fn evenly(case: &Case<'_>) -> Result<()> {
    let nodes = 1..=case.cluster.nodes();
    let server = |node| {
        let pod = case.pod(&format!("server-{node}")).of("hints");
        pod.on(node).serving(9376)
    };
    let pods = all_ready(nodes.clone().map(server).collect())?;
    let object: v1::Service = case.create(json!({
        "metadata": {
            "name": "hints",
            "annotations": { "service.kubernetes.io/topology-mode": "Auto" },
        },
        "spec": {
            "selector": { "app": "hints" },
            "ipFamilyPolicy": "PreferDualStack",
            "publishNotReadyAddresses": true,
            "ports": [{ "name": "example", "port": 80, "targetPort": 9376 }],
        },
    }))?;
    let addresses = object.spec.and_then(|spec| spec.cluster_ips);
    let to: Vec<_> = addresses
        .unwrap_or_default()
        .iter()
        .map(|address| anyhow::Ok((address.parse::<std::net::IpAddr>()?, 80).into()))
        .collect::<Result<_>>()?;
    case.until("a hint for each endpoint", || {
        let endpoints = case.slices("hints")?.into_iter();
        let endpoints: Vec<_> = endpoints.flat_map(|slice| slice.endpoints).collect();
        ensure!(endpoints.len() == 2 * pods.len(), "not all endpoints yet");
        for endpoint in endpoints {
            let zone = endpoint.zone.context("an endpoint without a zone")?;
            let hints = endpoint.hints.and_then(|hints| hints.for_zones);
            let hints: Vec<_> = hints.into_iter().flatten().map(|hint| hint.name).collect();
            ensure!(hints == [zone.as_str()], "{hints:?} for one in {zone}");
        }
        Ok(Some(()))
    })?;
    for node in nodes.step_by(2) {
        let near: Vec<&Pod> = pods
            .iter()
            .filter(|pod| Cluster::zone(pod.node) == Cluster::zone(node))
            .collect();
        case.client_on(node)?.reaches(Http, &to, &near)?;
    }
    Ok(())
}
