//! The agents and the API server are restarted under Services (S-72).

use anyhow::{Result, ensure};

use crate::case::{Case, Pod, Service};
use crate::traffic::Http;

struct Served {
    service: Service,
    pods: Vec<Pod>,
}

fn start(case: &Case<'_>, name: &str) -> Result<Served> {
    let pods = case.servers(name, 3, 9376)?;
    let service = case.tcp_service(name, 80, 9376)?;
    Ok(Served { service, pods })
}

fn is_up(client: &Pod, served: &Served) -> Result<()> {
    let pods: Vec<&Pod> = served.pods.iter().collect();
    client.reaches(Http, &served.service.at(80), &pods)
}

pub fn proxy(case: &Case<'_>) -> Result<()> {
    let client = case.client()?;
    let (first, second) = (start(case, "first")?, start(case, "second")?);
    is_up(&client, &first)?;
    is_up(&client, &second)?;
    case.cluster.restart_agents()?;
    is_up(&client, &first)?;
    is_up(&client, &second)?;
    // What upstream's test does not ask: that the restarted ones follow.
    let third = start(case, "third")?;
    is_up(&client, &third)
}

pub fn api_server(case: &Case<'_>) -> Result<()> {
    let client = case.client()?;
    let first = start(case, "first")?;
    is_up(&client, &first)?;
    case.cluster.control_plane.restart_api_server()?;
    is_up(&client, &first)?;
    let second = start(case, "second")?;
    ensure!(
        first.service.addresses != second.service.addresses,
        "two Services have one VIP"
    );
    is_up(&client, &first)?;
    is_up(&client, &second)
}
