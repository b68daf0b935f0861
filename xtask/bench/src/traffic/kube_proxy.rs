//! kube-proxy's rules on a testbed, written by kube-proxy itself, which follows a real API server with so many Services on both nodes.
//! Then it ends, and its rules stay: at rest it has no part in traffic.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use cluster::{ControlPlane, Identity, Options, Relay};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, PostParams};
use lab::Sandbox;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::mode::{Place, Plane};
use super::service;
use super::testbed::{Testbed, directories};
use crate::control_plane::fill::{self, NAMESPACE};
use crate::control_plane::proxy::{Kind, Place as Seat, Programs, Proxy};
use crate::control_plane::usage::is_running;

/// How long all kube-proxies of one number of Services may take together to write their rules: in nftables mode that is a minute for
/// ten thousand Services on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often its rules are counted.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often whoever waits is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(15);
/// How long the API server may take for a handful of objects.
const API_PATIENCE: Duration = Duration::from_secs(60);

/// A kube-proxy at work.
struct AtWork {
    /// Which one, on which node.
    name: String,
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
        bail!("no testbed");
    };
    let published =
        runtime.block_on(async { timeout(API_PATIENCE, publish(&control_plane, first)).await });
    let vips = published.with_context(|| {
        format!("the API server has not taken two Services in {API_PATIENCE:?}")
    })??;
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
    wait_until_written(&mut at_work, others as usize + service::frontends())?;
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
    if others == 0 {
        return ControlPlane::start(Options::default());
    }
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
    let control_plane = ControlPlane::start(Options {
        etcd_directory: Some(copy),
        ..Options::default()
    })?;
    runtime.block_on(async {
        fill::assert_holds(&control_plane.client().await?, others, &data).await
    })?;
    Ok(control_plane)
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
        name: format!("{} on {}", plane.name(), node.name),
        proxy,
        _relay: relay,
    })
}

/// Waits until each has rules for so many frontends.
fn wait_until_written(at_work: &mut [AtWork], expected: usize) -> Result<()> {
    let start = Instant::now();
    let mut told = start;
    for AtWork { name, proxy, .. } in at_work {
        while let Err(found) = has_written(proxy, expected) {
            let far = format!("{name} has written rules for {expected} frontends; now: {found}");
            if !is_running(proxy.id()) {
                let error = Error::msg(format!("waited until {far}, and it has ended"));
                return Err(proxy.explain(error));
            }
            if start.elapsed() > PATIENCE {
                let error = Error::msg(format!(
                    "waited {PATIENCE:?} until {far}. Its log says whether it has given up; if it has not, run again when the machine has \
                     less to do, or with fewer --proxy-services"
                ));
                return Err(proxy.explain(error));
            }
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                let waited = start.elapsed().as_secs();
                println!("    waiting until {far}, {waited} s");
            }
            // To look at ten thousand Services takes the processor that it needs.
            thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

/// Whether there are rules for so many frontends; if not, what there is.
fn has_written(proxy: &Proxy, expected: usize) -> Result<(), String> {
    match proxy.programmed() {
        Ok(found) if found >= expected => Ok(()),
        Ok(found) => Err(found.to_string()),
        // Before its first pass there is nothing to list; nft says that in several lines.
        Err(error) => Err(format!("{error:#}").lines().take(1).collect()),
    }
}
