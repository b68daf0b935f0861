//! Services that come, go and come back.

use anyhow::{Result, ensure};

use crate::case::{Case, Pod, Service};
use crate::traffic::Http;

/// A Service with three pods.
fn start(case: &Case<'_>, name: &str) -> Result<(Service, Vec<Pod>)> {
    let pods = case.servers(name, 3, 9376)?;
    Ok((case.tcp_service(name, 80, 9376)?, pods))
}

pub fn up_and_down(case: &Case<'_>) -> Result<()> {
    let client = case.client()?;
    let is_up = |(service, pods): &(Service, Vec<Pod>)| {
        let pods: Vec<&Pod> = pods.iter().collect();
        client.reaches(Http, &service.at(80), &pods)
    };
    let (first, second) = (start(case, "up-down-1")?, start(case, "up-down-2")?);
    is_up(&first)?;
    is_up(&second)?;
    case.delete_service(&first.0.name)?;
    for pod in &first.1 {
        case.delete_pod(pod)?;
    }
    client.cannot_reach(Http, &first.0.at(80))?;
    is_up(&second)?;
    let third = start(case, "up-down-3")?;
    ensure!(
        third.0.addresses != second.0.addresses,
        "two Services have one VIP"
    );
    is_up(&second)?;
    is_up(&third)
}

pub fn recreated(case: &Case<'_>) -> Result<()> {
    let client = case.client()?;
    let pods = case.servers("web", 1, 9376)?;
    let first = case.tcp_service("web", 80, 9376)?;
    client.reaches(Http, &first.at(80), &[&pods[0]])?;
    case.delete_service("web")?;
    case.until("the end of the Service", || {
        let found = case.get::<k8s_openapi::api::core::v1::Service>("web")?;
        Ok(found.is_none().then_some(()))
    })?;
    let second = case.tcp_service("web", 80, 9376)?;
    client.reaches(Http, &second.at(80), &[&pods[0]])
}
