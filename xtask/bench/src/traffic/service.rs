//! The two Services that are measured, one with a backend on the client's node and one with a backend on the other, and all the
//! others that are there as well.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use lab::Pod;
use lb_common::addr::Protocol;
use lb_common::backend::{BackendState, list};
use lb_common::frontend::{Frontend, SlotRange};
use lb_userspace::datapath::PinPaths;
use lb_userspace::maps::bpf::{Access, BpfMaps};
use lb_userspace::maps::{BackendRow, FrontendAt, Maps, Op, row};
use serde_json::{Value, json};

use super::mode::Place;
use super::server::{ECHO, SINK};

/// What a cluster gives its Services addresses from.
pub const SERVICE_CIDR: &str = "10.96.0.0/12";
/// The ports of a measured Service, which lead to the same ports of its pod.
const PORTS: [(&str, &str, u16); 3] = [
    ("echo", "TCP", ECHO),
    ("datagrams", "UDP", ECHO),
    ("sink", "TCP", SINK),
];
/// The first id of what is written beside the agent, which gives out the lowest ones.
const FIRST: u32 = 1000;
/// Rows of one kind that are written at once.
const AT_ONCE: u32 = 10_000;

/// The name of a measured Service. It comes last in the order of names, which is also the order in which kube-proxy writes.
pub fn name(place: Place) -> String {
    format!("traffic-{}", place.name())
}

/// How many frontends the measured Services have together.
pub fn frontends() -> usize {
    PORTS.len() * Place::ALL.len()
}

/// The VIP of a measured Service where it is for the test to choose.
pub fn vip(place: Place) -> IpAddr {
    Ipv4Addr::new(10, 96, 0, 10 + place as u8).into()
}

/// A measured Service, as the API has it. Without a VIP the API server gives it one.
pub fn service(place: Place, vip: Option<IpAddr>) -> Value {
    let ports: Vec<Value> = PORTS
        .iter()
        .map(|(name, protocol, port)| {
            json!({"name": name, "protocol": protocol, "port": port, "targetPort": port})
        })
        .collect();
    let mut spec = json!({ "ports": ports });
    if let Some(vip) = vip {
        spec["clusterIP"] = json!(vip);
        spec["clusterIPs"] = json!([vip]);
        spec["ipFamilies"] = json!(["IPv4"]);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name(place)}, "spec": spec})
}

/// The endpoint of a measured Service.
pub fn slice(place: Place, backend: &Pod) -> Value {
    let ports: Vec<Value> = PORTS
        .iter()
        .map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name(place),
            "labels": {
                "kubernetes.io/service-name": name(place),
                "endpointslice.kubernetes.io/managed-by": "bench",
            },
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{
            "addresses": [backend.ipv4],
            "nodeName": backend.node,
            "conditions": {"ready": true, "serving": true, "terminating": false},
        }],
    })
}

/// Writes the measured Services as manifests.
///
/// # Errors
/// When a file cannot be written.
pub fn write_manifests<'a>(folder: &Path, backend: impl Fn(Place) -> &'a Pod) -> Result<()> {
    for place in Place::ALL {
        let objects = [
            ("service", service(place, Some(vip(place)))),
            ("slice", slice(place, backend(place))),
        ];
        for (kind, object) in objects {
            let file = folder.join(format!("{}-{kind}.json", name(place)));
            fs::write(&file, object.to_string()).with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

/// Writes so many Services into the maps of an agent that runs, each with one TCP port and one endpoint, by the agent's own
/// library: the rows are those that it would write, without a hundred thousand manifests in its memory. It takes no row away that it
/// did not put there, as long as it runs.
///
/// # Errors
/// If the kernel refuses a write.
pub fn write_others(pins: &PinPaths, count: u32) -> Result<()> {
    let mut maps = BpfMaps::open(&pins.layout(), Access::Write)?;
    for first in (0..count).step_by(AT_ONCE as usize) {
        let numbers = first..count.min(first + AT_ONCE);
        let mut phases: [Vec<Op>; 4] = Default::default();
        let [bits, backends, slots, frontends] = &mut phases;
        slots.push(Op::WriteSlots {
            offset: FIRST + numbers.start,
            ids: numbers.clone().map(|number| FIRST + number).collect(),
        });
        for number in numbers {
            let id = FIRST + number;
            let vip = other_vip(number);
            let endpoint = SocketAddr::new(other_pod(number), ECHO);
            let backend =
                BackendRow::new(endpoint, BackendState::Active, 1, id).listed(list::CLUSTER);
            let range = SlotRange { offset: id, len: 1 };
            let none = SlotRange::default();
            let frontend = Frontend::new(id, range, none, 0, Frontend::HAS_ENDPOINTS);
            bits.push(Op::SetVipBit(row::vip_bit(&vip)));
            backends.push(Op::PutBackend(id, backend));
            frontends.push(Op::PutFrontend(
                FrontendAt::address_row(vip),
                Frontend::address_row(true),
            ));
            let at = SocketAddr::new(vip, ECHO);
            frontends.push(Op::PutFrontend(
                FrontendAt::new(at, Protocol::Tcp),
                frontend,
            ));
        }
        for ops in phases {
            for done in maps.apply(&ops) {
                done?;
            }
        }
    }
    Ok(())
}

/// Room for so many Services beside the measured ones, as flags of the agent.
pub fn room(count: u32) -> Vec<String> {
    let rows = 2 * (count + FIRST);
    ["frontends", "backends", "services"]
        .into_iter()
        .flat_map(|what| [format!("--max-{what}"), rows.max(65_536).to_string()])
        .collect()
}

/// None of the measured ones.
fn other_vip(number: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 97, 0, 0)) + number).into()
}

/// Nobody has it.
fn other_pod(number: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(11, 0, 0, 0)) + number).into()
}
