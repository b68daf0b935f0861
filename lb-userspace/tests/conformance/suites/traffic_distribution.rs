//! The list of `traffic_distribution.go`, and its bodies: the hints that the control plane gives, and who is reached by
//! them (S-21).

use anyhow::Result;
use serde_json::json;

use crate::case::{Case, Pod, Service, all_ready};
use crate::suite::Port::Whole;
use crate::suite::{Suite, test};
use crate::traffic::Http;

/// Nodes of the three zones; each has two.
const A: [usize; 2] = [1, 2];
const B: [usize; 2] = [3, 4];
const C: [usize; 2] = [5, 6];

pub fn suite() -> Suite {
    Suite {
        title: "Traffic Distribution",
        file: "traffic_distribution.go",
        tests: vec![
            test(
                "should route traffic to an endpoint in the same zone when using PreferClose",
                Whole(|case| same_zone(case, "PreferClose")),
            ),
            test(
                "should route traffic correctly between pods on multiple nodes when using PreferClose",
                Whole(|case| several_nodes(case, "PreferClose")),
            ),
            test(
                "should route traffic to an endpoint in the same zone when using PreferSameZone",
                Whole(|case| same_zone(case, "PreferSameZone")),
            ),
            test(
                "should route traffic correctly between pods on multiple nodes when using PreferSameZone",
                Whole(|case| several_nodes(case, "PreferSameZone")),
            ),
            test(
                "should route traffic to an endpoint on the same node or fall back to same zone when using PreferSameNode",
                Whole(same_node_or_zone),
            ),
            test(
                "should route traffic to an endpoint on the same node when using PreferSameNode and fall back when the endpoint becomes unavailable",
                Whole(same_node_comes_and_goes),
            ),
        ],
    }
}

/// One endpoint in each of two zones; the third zone has none and uses both.
fn same_zone(case: &Case<'_>, distribution: &str) -> Result<()> {
    let service = service(case, distribution)?;
    let servers = servers(case, &[A[0], B[0]])?;
    let [in_a, in_b] = [&servers[0], &servers[1]];
    case.client_on(A[0])?
        .reaches(Http, &service.at(80), &[in_a])?;
    case.client_on(B[0])?
        .reaches(Http, &service.at(80), &[in_b])?;
    let far = case.client_on(C[0])?;
    far.reaches(Http, &service.at(80), &[in_a, in_b])
}

/// Two endpoints in one zone, used by both of its nodes; one in the next, used by the node that has none; none in the
/// third, which uses all.
fn several_nodes(case: &Case<'_>, distribution: &str) -> Result<()> {
    let service = service(case, distribution)?;
    let servers = servers(case, &[A[0], A[1], B[1]])?;
    let all: Vec<&Pod> = servers.iter().collect();
    for node in A {
        let client = case.client_on(node)?;
        client.reaches(Http, &service.at(80), &all[..2])?;
    }
    case.client_on(B[0])?
        .reaches(Http, &service.at(80), &all[2..])?;
    case.client_on(C[0])?.reaches(Http, &service.at(80), &all)
}

fn same_node_or_zone(case: &Case<'_>) -> Result<()> {
    let service = service(case, "PreferSameNode")?;
    let servers = servers(case, &[A[0], A[1], B[1]])?;
    let all: Vec<&Pod> = servers.iter().collect();
    for (node, server) in A.iter().zip(&all) {
        let client = case.client_on(*node)?;
        client.reaches(Http, &service.at(80), &[server])?;
    }
    case.client_on(B[0])?
        .reaches(Http, &service.at(80), &all[2..])?;
    case.client_on(C[0])?.reaches(Http, &service.at(80), &all)
}

fn same_node_comes_and_goes(case: &Case<'_>) -> Result<()> {
    let service = service(case, "PreferSameNode")?;
    let servers = servers(case, &[A[0], A[1]])?;
    let [first, second] = [&servers[0], &servers[1]];
    let clients = [case.client_on(A[0])?, case.client_on(A[1])?];
    clients[0].reaches(Http, &service.at(80), &[first])?;
    clients[1].reaches(Http, &service.at(80), &[second])?;
    case.delete_pod(first)?;
    for client in &clients {
        client.reaches(Http, &service.at(80), &[second])?;
    }
    let again = case.pod("server-again").of("web").on(A[0]).serving(9376);
    let again = again.ready()?;
    clients[0].reaches(Http, &service.at(80), &[&again])?;
    clients[1].reaches(Http, &service.at(80), &[second])
}

fn service(case: &Case<'_>, distribution: &str) -> Result<Service> {
    case.service(
        "web",
        json!({
            "ports": [{ "port": 80, "targetPort": 9376 }],
            "trafficDistribution": distribution,
        }),
    )
}

fn servers(case: &Case<'_>, nodes: &[usize]) -> Result<Vec<Pod>> {
    let server = |node: &usize| {
        let pod = case.pod(&format!("server-{node}")).of("web");
        pod.on(*node).serving(9376)
    };
    all_ready(nodes.iter().map(server).collect())
}
