//! The list of `apiserver.go`, and its bodies: the Service `kubernetes`, whose endpoint no controller makes.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};

use crate::case::{Case, PATIENCE, eventually};
use crate::suite::Port::Whole;
use crate::suite::{Suite, conformance};

pub fn suite() -> Suite {
    let reached =
        "and the API server is reached through the VIP, which upstream's test does not ask";
    Suite {
        title: "API Server",
        file: "apiserver.go",
        tests: vec![
            conformance("should provide secure master service", Whole(secure)).remark(reached),
            conformance(
                "should have Endpoints and EndpointSlices pointing to API Server",
                Whole(slices),
            ),
        ],
    }
}

fn secure(case: &Case<'_>) -> Result<()> {
    let services: Api<v1::Service> = Api::namespaced(case.cluster.client(), "default");
    let service = case.cluster.wait(services.get("kubernetes"))?;
    let spec = service.spec.context("no spec")?;
    let port = spec.ports.iter().flatten().next().context("no port")?;
    ensure!(port.port == 443, "it is reached at {}", port.port);
    let vip = spec.cluster_ip.context("no VIP")?;
    let client = case.client_on(3)?;
    let url = format!("https://{vip}:443/version");
    eventually("the API server behind its VIP", PATIENCE, || {
        let mut curl = client.netns.command("curl");
        let output = curl
            .args(["-sS", "--insecure", "--max-time", "3", &url])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        // Without a name one may be let in or not; both is said by the API server.
        ensure!(
            text.contains("gitVersion") || text.contains("\"Status\""),
            "{text}{said}"
        );
        Ok(Some(()))
    })
}

fn slices(case: &Case<'_>) -> Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(case.cluster.client(), "default");
    let parameters = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    let found = case.cluster.wait(slices.list(&parameters))?;
    let endpoints = found.items.iter().flat_map(|slice| &slice.endpoints);
    let addresses: Vec<_> = endpoints.flat_map(|endpoint| &endpoint.addresses).collect();
    let expected = case.cluster.node(1).ipv4.to_string();
    ensure!(addresses == [&expected], "{addresses:?}");
    Ok(())
}
