//! kube-proxy's rules on a testbed, written by kube-proxy itself, which follows a real API server with so many Services on both nodes.
//! Then it ends, and its rules stay: at rest it has no part in traffic.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster::{ControlPlane, Identity, Options, Relay};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, PostParams};
use lab::{Sandbox, wait_for};
use tokio::runtime::Runtime;

use super::mode::{Place, Plane};
use super::service;
use super::testbed::{Testbed, directories};
use crate::control_plane::fill::{self, NAMESPACE};
use crate::control_plane::proxy::{Kind, Place as Seat, Programs, Proxy};
use crate::control_plane::usage::is_running;

/// How long kube-proxy may take to write its rules: in nftables mode that is a minute for ten thousand Services.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often its rules are counted.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A kube-proxy at work.
struct AtWork {
    proxy: Proxy,
    _relay: Relay,
}

/// Lets kube-proxy write its rules into testbeds, for `services` Services and the two measured ones; 1 stands for these two alone.
/// Returns the VIPs of these two, which are the same in all testbeds.
///
/// # Errors
/// When the control plane does not come up, or a kube-proxy does not write its rules; then with the end of its log.
pub fn write_rules(
    programs: &Programs,
    services: u32,
    testbeds: &[(Plane, &Testbed)],
    keep: &Path,
    runtime: &Runtime,
) -> Result<[IpAddr; 2]> {
    let others = if services > 1 { services } else { 0 };
    let control_plane = start(others, keep, runtime)?;
    let Some((_, first)) = testbeds.first() else {
        anyhow::bail!("no testbed");
    };
    let vips = runtime.block_on(publish(&control_plane, first))?;
    let mut at_work = Vec::new();
    for (plane, testbed) in testbeds {
        for number in [1, 2] {
            at_work.push(start_proxy(
                programs,
                *plane,
                services,
                testbed,
                number,
                &control_plane,
            )?);
        }
    }
    let expected = others as usize + service::frontends();
    for AtWork { proxy, .. } in &mut at_work {
        wait_until_written(proxy, expected).map_err(|error| proxy.explain(error))?;
    }
    for AtWork { proxy, .. } in at_work {
        proxy.leave_rules()?;
    }
    control_plane.stop()?;
    Ok(vips)
}

/// The kind of data plane that `bench control-plane` knows.
pub fn kind(plane: Plane) -> Option<Kind> {
    match plane {
        Plane::Nftables => Some(Kind::Nftables),
        Plane::Iptables => Some(Kind::Iptables),
        Plane::IptablesNft => Some(Kind::IptablesNft),
        _ => None,
    }
}

fn start(others: u32, keep: &Path, runtime: &Runtime) -> Result<ControlPlane> {
    let mut etcd_directory = None;
    if others > 0 {
        let data = fill::data(keep, others, runtime)?;
        let copy = Sandbox::current()?
            .directory()
            .join(format!("etcd-{others}"));
        let status = Command::new("cp")
            .arg("-a")
            .arg(&data)
            .arg(&copy)
            .status()?;
        ensure!(status.success(), "cannot copy {}", data.display());
        etcd_directory = Some(copy);
    }
    ControlPlane::start(Options {
        etcd_directory,
        ..Options::default()
    })
}

/// Makes the nodes and the measured Services.
async fn publish(control_plane: &ControlPlane, testbed: &Testbed) -> Result<[IpAddr; 2]> {
    for number in [1, 2] {
        let node = testbed.node(number);
        control_plane
            .add_node(&node.name, &[], &node.addresses(), &node.pod_cidrs())
            .await?;
    }
    let client = control_plane.client().await?;
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let slices: Api<EndpointSlice> = Api::namespaced(client, NAMESPACE);
    let how = PostParams::default();
    let mut vips = Vec::new();
    for place in Place::ALL {
        let object = serde_json::from_value(service::service(place, None))?;
        let created = services.create(&how, &object).await?;
        let slice = service::slice(place, testbed.backend(place));
        slices.create(&how, &serde_json::from_value(slice)?).await?;
        let vip = created.spec.and_then(|spec| spec.cluster_ip);
        vips.push(vip.context("the Service got no address")?.parse()?);
    }
    Ok([vips[0], vips[1]])
}

fn start_proxy(
    programs: &Programs,
    plane: Plane,
    services: u32,
    testbed: &Testbed,
    number: usize,
    control_plane: &ControlPlane,
) -> Result<AtWork> {
    let kind = kind(plane).with_context(|| format!("{} is no kube-proxy", plane.name()))?;
    let node = testbed.node(number);
    let [directory, bpffs] = directories(&format!("{kind}-{services}-{number}"))?;
    let relay = control_plane.relay(&node.netns, ([127, 0, 0, 1], 0).into())?;
    let identity = Identity::user("system:kube-proxy");
    let kubeconfig = directory.join("kubeconfig");
    let text = control_plane.kubeconfig_for(&identity, relay.address())?;
    std::fs::write(&kubeconfig, text).with_context(|| kubeconfig.display().to_string())?;
    let proxy = programs.start(
        kind,
        &Seat {
            netns: &node.netns,
            node: &node.name,
            kubeconfig: &kubeconfig,
            directory: &directory,
            bpffs: &bpffs,
        },
    )?;
    Ok(AtWork {
        proxy,
        _relay: relay,
    })
}

fn wait_until_written(proxy: &Proxy, expected: usize) -> Result<()> {
    let mut last = String::new();
    let written = wait_for("kube-proxy's rules", PATIENCE, || {
        if !is_running(proxy.id()) {
            return Some(false);
        }
        // Before its first pass there is nothing to list.
        last = match proxy.programmed() {
            Ok(programmed) if programmed >= expected => return Some(true),
            Ok(programmed) => programmed.to_string(),
            Err(error) => format!("{error:#}"),
        };
        // To look at ten thousand Services takes the processor that it needs.
        thread::sleep(LOOK_EVERY);
        None
    });
    let written = written.with_context(|| format!("of {expected} rules: {last}"))?;
    ensure!(written, "it has ended before its rules were written");
    Ok(())
}
