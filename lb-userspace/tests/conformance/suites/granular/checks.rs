//! The checks themselves, on one VIP of a dual-stack Service with a port for each protocol and three pods on different nodes.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lab::client::raw_get;
use serde_json::{Value, json};

use crate::case::{Case, Pod, Service, all_ready};
use crate::traffic::{Http, Protocol, Sctp, Udp};

const HTTP_PORT: u16 = 80;
const UDP_PORT: u16 = 90;
const SCTP_PORT: u16 = 95;
const TARGET: u16 = 8083;
const SCTP_TARGET: u16 = 8082;
/// Of the hosts' own network; only one test at a time has each.
const HOST_TARGETS: [u16; 2] = [11_080, 11_081];
/// Octets of a large request: more than fits into one packet here.
const LARGE: usize = 2000;

/// Which VIP is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Primary,
    Secondary,
}

/// A Service with its pods.
struct Served {
    family: Family,
    service: Service,
    pods: Vec<Pod>,
}

impl Served {
    fn start(case: &Case<'_>, family: Family, more: Value) -> Result<Served> {
        Ok(Served {
            family,
            service: service(case, "netserver", TARGET, more)?,
            pods: case.servers("netserver", 3, TARGET)?,
        })
    }

    /// The Service and its pods have an SCTP port too.
    fn with_sctp(case: &Case<'_>, family: Family) -> Result<Served> {
        let mut ports = ports(TARGET);
        ports.push(
            json!({ "name": "sctp", "port": SCTP_PORT, "targetPort": "sctp", "protocol": "SCTP" }),
        );
        let recipes = [1, 2, 3].map(|number| {
            let pod = case.pod(&format!("netserver-{number}")).of("netserver");
            pod.serving(TARGET).serving_sctp(SCTP_TARGET)
        });
        Ok(Served {
            family,
            service: case.service("netserver", json!({ "ports": ports }))?,
            pods: all_ready(recipes.into())?,
        })
    }

    /// As upstream, with an SCTP port only where that is what is tested.
    fn speaking(case: &Case<'_>, family: Family, protocol: Protocol) -> Result<Served> {
        match protocol {
            Sctp => Served::with_sctp(case, family),
            Http | Udp => Served::start(case, family, json!({})),
        }
    }

    fn at(&self, protocol: Protocol) -> Vec<SocketAddr> {
        at(&self.service, self.family, protocol)
    }

    fn pods(&self) -> Vec<&Pod> {
        self.pods.iter().collect()
    }
}

pub fn from_pod(case: &Case<'_>, family: Family, protocol: Protocol) -> Result<()> {
    let served = Served::speaking(case, family, protocol)?;
    let client = case.client()?;
    client.reaches(protocol, &served.at(protocol), &served.pods())
}

pub fn from_node(case: &Case<'_>, family: Family, protocol: Protocol) -> Result<()> {
    let served = Served::start(case, family, json!({}))?;
    let node = case.pod("node").on_host_network().ready()?;
    node.reaches(protocol, &served.at(protocol), &served.pods())
}

pub fn from_endpoints(case: &Case<'_>, family: Family, protocol: Protocol) -> Result<()> {
    let served = Served::speaking(case, family, protocol)?;
    let all = served.pods();
    all.iter()
        .try_for_each(|pod| pod.reaches(protocol, &served.at(protocol), &all))
}

pub fn same_selector(case: &Case<'_>, family: Family) -> Result<()> {
    let served = Served::start(case, family, json!({}))?;
    let selector = json!({ "selector": { "app": "netserver" } });
    let second = service(case, "second", TARGET, selector)?;
    let (pod, all) = (&served.pods[0], served.pods());
    pod.reaches(Http, &served.at(Http), &all)?;
    pod.reaches(Http, &at(&second, family, Http), &all)?;
    case.delete_service(&served.service.name)?;
    pod.cannot_reach(Http, &served.at(Http))?;
    pod.reaches(Http, &at(&second, family, Http), &all)
}

pub fn updated(case: &Case<'_>, family: Family, protocol: Protocol) -> Result<()> {
    let served = Served::start(case, family, json!({}))?;
    let client = case.client()?;
    client.reaches(protocol, &served.at(protocol), &served.pods())?;
    case.delete_pod(&served.pods[0])?;
    client.reaches(protocol, &served.at(protocol), &served.pods()[1..])
}

pub fn affinity(case: &Case<'_>, family: Family, protocol: Protocol) -> Result<()> {
    let served = Served::start(case, family, json!({ "sessionAffinity": "ClientIP" }))?;
    case.client()?.sticks(protocol, &served.at(protocol))
}

pub fn large_http(case: &Case<'_>, family: Family) -> Result<()> {
    let served = Served::start(case, family, json!({}))?;
    let client = case.client()?;
    client.reaches(Http, &served.at(Http), &served.pods())?;
    echo_http(&client, &served.at(Http))
}

pub fn large_udp(case: &Case<'_>, family: Family) -> Result<()> {
    let served = Served::start(case, family, json!({}))?;
    let client = case.client()?;
    client.reaches(Udp, &served.at(Udp), &served.pods())?;
    echo_udp(&client, &served.at(Udp))
}

pub fn host_network(case: &Case<'_>, family: Family) -> Result<()> {
    let target = HOST_TARGETS[family as usize];
    let service = service(case, "hostserver", target, json!({}))?;
    let recipes = [1, 2, 3].map(|node| {
        let pod = case.pod(&format!("hostserver-{node}")).of("hostserver");
        pod.on(node).on_host_network().serving(target)
    });
    let pods = all_ready(recipes.into())?;
    let pods: Vec<&Pod> = pods.iter().collect();
    let client = case.client_on(1)?;
    let node = case.pod("node").on(1).on_host_network().ready()?;
    for protocol in [Http, Udp] {
        let to = at(&service, family, protocol);
        client.reaches(protocol, &to, &pods)?;
        node.reaches(protocol, &to, &pods)?;
    }
    echo_http(&client, &at(&service, family, Http))?;
    echo_udp(&client, &at(&service, family, Udp))
}

/// A Service with a TCP and a UDP port.
fn service(case: &Case<'_>, name: &str, target: u16, more: Value) -> Result<Service> {
    let mut spec = json!({ "ports": ports(target) });
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    case.service(name, spec)
}

fn ports(target: u16) -> Vec<Value> {
    vec![
        json!({ "name": "http", "port": HTTP_PORT, "targetPort": target, "protocol": "TCP" }),
        json!({ "name": "udp", "port": UDP_PORT, "targetPort": target, "protocol": "UDP" }),
    ]
}

fn at(service: &Service, family: Family, protocol: Protocol) -> Vec<SocketAddr> {
    let port = match protocol {
        Http => HTTP_PORT,
        Udp => UDP_PORT,
        Sctp => SCTP_PORT,
    };
    match family {
        Family::Primary => service.primary(port),
        Family::Secondary => service.secondary(port),
    }
}

fn echo_http(client: &Pod, to: &[SocketAddr]) -> Result<()> {
    let message = "42".repeat(LARGE / 2);
    for to in to {
        let answer = raw_get(&client.netns, *to, &format!("/echo?msg={message}"))?;
        ensure!(answer.ends_with(&message), "{to} echoed {answer}");
    }
    Ok(())
}

fn echo_udp(client: &Pod, to: &[SocketAddr]) -> Result<()> {
    let message = format!("n{}", "o".repeat(LARGE - 1));
    for to in to {
        for _ in 0..10 {
            // The answer to another payload would not be taken for one.
            lab::client::udp_exchange(&client.netns, *to, message.as_bytes())?;
        }
    }
    Ok(())
}
