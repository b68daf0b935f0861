//! The lists of `service_cidrs.go`, and the body: VIPs from a range that is added while the cluster runs.

use std::net::Ipv4Addr;

use anyhow::Result;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::case::{Case, PATIENCE, Pod, eventually};
use crate::suite::Port::{ClusterIp, Outside};
use crate::suite::{Suite, conformance, test};
use crate::traffic::Http;

const NAME: &str = "test-svc-cidr";
/// For documentation (RFC 5737), so nobody else's.
const RANGE: &str = "203.0.113.0/24";
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

pub fn suite() -> Suite {
    Suite {
        title: "Service CIDRs",
        file: "service_cidrs.go",
        tests: vec![
            test(
                "should create Services and serve on different Service CIDRs",
                ClusterIp(another_range),
            )
            .remark("reached at its VIP"),
        ],
    }
}

pub fn api() -> Suite {
    let alone = "about the API server alone";
    Suite {
        title: "ServiceCIDR and IPAddress API",
        file: "service_cidrs.go",
        tests: vec![
            conformance("should support ServiceCIDR API operations", Outside(alone)),
            conformance("should support IPAddress API operations", Outside(alone)),
        ],
    }
}

fn another_range(case: &Case<'_>) -> Result<()> {
    let ranges: Api<ServiceCIDR> = Api::all(case.cluster.client());
    let range = serde_json::from_value(json!({
        "metadata": { "name": NAME },
        "spec": { "cidrs": [RANGE] },
    }))?;
    case.cluster
        .wait(ranges.create(&PostParams::default(), &range))?;
    eventually("the range to be ready", PATIENCE, || {
        let range = case.cluster.wait(ranges.get(NAME))?;
        let conditions = range.status.and_then(|status| status.conditions);
        let mut conditions = conditions.into_iter().flatten();
        Ok(conditions
            .any(|each| each.type_ == "Ready" && each.status == "True")
            .then_some(()))
    })?;
    let service = case.service(
        "web",
        json!({
            "type": "NodePort",
            "clusterIP": VIP,
            "ipFamilyPolicy": "SingleStack",
            "ports": [{ "name": "http", "port": 80, "targetPort": 9376 }],
        }),
    )?;
    let pods = case.servers("web", 2, 9376)?;
    let pods: Vec<&Pod> = pods.iter().collect();
    let reached = case.client()?.reaches(Http, &service.at(80), &pods);
    case.delete_service("web")?;
    case.cluster
        .wait(ranges.delete(NAME, &DeleteParams::default()))?;
    reached
}
