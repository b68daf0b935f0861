//! The list of `dual_stack.go`, and the bodies that are not `granular`'s.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::granular::SCTP;
use super::granular::checks::{self, Family::Secondary};
use crate::case::{Case, Pod, all_ready};
use crate::suite::Port::{ClusterIp, Outside, Whole};
use crate::suite::{Suite, Test, test};
use crate::traffic::{Http, Sctp, Udp};

pub fn suite() -> Suite {
    let mut tests = vec![
        test(
            "should have at least one dual-stack node",
            Outside("about the cluster's nodes alone"),
        ),
        test(
            "should create pod, add ipv6 and ipv4 ip to pod ips",
            Outside("about the kubelet alone"),
        ),
        test(
            "should create pod, add ipv6 and ipv4 ip to host ips",
            Outside("about the kubelet alone"),
        ),
        test(
            "should be able to reach pod on ipv4 and ipv6 ip",
            Whole(pods_directly),
        ),
        test(
            "should create a single stack service with cluster ip from primary service range",
            Whole(|case| families(case, json!({ "ipFamilyPolicy": null }), &["IPv4"])),
        )
        .remark(REACHED),
    ];
    let created: [Test; 4] = [
        test(
            "should create service with ipv4 cluster ip",
            Whole(|case| families(case, single("IPv4"), &["IPv4"])),
        ),
        test(
            "should create service with ipv6 cluster ip",
            Whole(|case| families(case, single("IPv6"), &["IPv6"])),
        ),
        test(
            "should create service with ipv4,v6 cluster ip",
            Whole(|case| families(case, dual("IPv4", "IPv6"), &["IPv4", "IPv6"])),
        ),
        test(
            "should create service with ipv6,v4 cluster ip",
            Whole(|case| families(case, dual("IPv6", "IPv4"), &["IPv6", "IPv4"])),
        ),
    ];
    tests.extend(created.map(|test| test.remark(REACHED)));
    tests.extend(granular());
    Suite {
        title: "[Feature:IPv6DualStack]",
        file: "dual_stack.go",
        tests,
    }
}

const REACHED: &str = "and its VIPs are reached, which upstream's test does not ask";

fn granular() -> [Test; 14] {
    [
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for pod-Service: http",
            ClusterIp(|case| checks::from_pod(case, Secondary, Http)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for pod-Service: udp",
            ClusterIp(|case| checks::from_pod(case, Secondary, Udp)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for pod-Service: sctp",
            Whole(|case| checks::from_pod(case, Secondary, Sctp)),
        )
        .remark(SCTP),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for node-Service: http",
            ClusterIp(|case| checks::from_node(case, Secondary, Http)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for node-Service: udp",
            ClusterIp(|case| checks::from_node(case, Secondary, Udp)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for endpoint-Service: http",
            ClusterIp(|case| checks::from_endpoints(case, Secondary, Http)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for endpoint-Service: udp",
            ClusterIp(|case| checks::from_endpoints(case, Secondary, Udp)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should update endpoints: http",
            Whole(|case| checks::updated(case, Secondary, Http)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should update endpoints: udp",
            Whole(|case| checks::updated(case, Secondary, Udp)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for client IP based session affinity: http [LinuxOnly]",
            Whole(|case| checks::affinity(case, Secondary, Http)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for client IP based session affinity: udp [LinuxOnly]",
            Whole(|case| checks::affinity(case, Secondary, Udp)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should be able to handle large requests: http",
            Whole(|case| checks::large_http(case, Secondary)),
        ),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should be able to handle large requests: udp",
            Whole(|case| checks::large_udp(case, Secondary)),
        )
        .remark("a datagram of 2000 octets, which is sent in fragments, and so is its answer"),
        test(
            "Granular Checks: Services Secondary IP Family [LinuxOnly] should function for service endpoints using hostNetwork",
            ClusterIp(|case| checks::host_network(case, Secondary)),
        ),
    ]
}

fn single(family: &str) -> Value {
    json!({ "ipFamilyPolicy": "SingleStack", "ipFamilies": [family] })
}

fn dual(first: &str, second: &str) -> Value {
    json!({ "ipFamilyPolicy": "RequireDualStack", "ipFamilies": [first, second] })
}

fn pods_directly(case: &Case<'_>) -> Result<()> {
    let servers = [1, 2, 3].map(|node| case.pod(&format!("server-{node}")).on(node).serving(80));
    let servers = all_ready(servers.into())?;
    for node in [1, 2, 3] {
        let client = case.client_on(node)?;
        for server in &servers {
            let at = server.addresses.map(|address| (address, 80).into());
            client.reaches(Http, &at, &[server])?;
        }
    }
    Ok(())
}

/// A Service has VIPs of these families in this order, and both of its pods answer there.
fn families(case: &Case<'_>, mut spec: Value, expected: &[&str]) -> Result<()> {
    spec["ports"] = json!([{ "port": 80, "targetPort": 8080 }]);
    let service = case.service("web", spec)?;
    let family = |address: &std::net::IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let found: Vec<&str> = service.addresses.iter().map(family).collect();
    ensure!(found == expected, "{:?}", service.addresses);
    let pods = case.servers("web", 2, 8080)?;
    let pods: Vec<&Pod> = pods.iter().collect();
    case.client()?.reaches(Http, &service.at(80), &pods)
}
