//! What a Service does not do: answer without pods, answer strangers. And what it must do for a pod that is its own
//! back-end, and for traffic that is none of its business.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::client::{http_get, http_many};
use lab::{VIPS_V4, VIPS_V6};

use crate::demo::cluster::Cluster;
use crate::demo::services::BACKEND;
use crate::demo::shell::{self, Dns};
use crate::demo::talk::Talk;

/// A Service that nobody has written pods for.
const EMPTY_VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 99);
const EMPTY: &str = "apiVersion: v1
kind: Service
metadata:
  name: coming-soon
spec:
  clusterIP: 10.96.0.99
  selector:
    app: coming-soon
  ports:
    - port: 80
";
const AT_ONCE: Duration = Duration::from_secs(1);
const HAIRPINS: u64 = 60;

/// Refusals, hairpins, strangers.
pub fn what_is_refused(cluster: &mut Cluster, talk: &mut Talk) -> Result<()> {
    talk.chapter("The borders of a Service");
    no_endpoints(cluster, talk)?;
    hairpin(cluster, talk)?;
    stranger(cluster, talk)
}

fn no_endpoints(cluster: &mut Cluster, talk: &mut Talk) -> Result<()> {
    cluster.manifests.write("coming-soon.yaml", EMPTY)?;
    let vip = (EMPTY_VIP, 80).into();
    for agent in &mut cluster.agents {
        agent.wait_for_frontend(vip)?;
    }
    talk.say("a Service without pods, written while the agents run:");
    let url = shell::url(vip);
    let words = ["curl", "-sS", "--max-time", "5", &url];
    talk.command(&cluster.run(&cluster.front_end, &words)?);
    let start = Instant::now();
    let answer = http_get(&cluster.front_end.netns, vip);
    let took = start.elapsed();
    talk.claim(
        format!(
            "it refuses at once: after {:.1} ms",
            took.as_secs_f64() * 1e3
        ),
        answer.is_err_and(|error| error.is_refused()) && took < AT_ONCE,
    );
    Ok(())
}

fn hairpin(cluster: &Cluster, talk: &mut Talk) -> Result<()> {
    let pod = cluster.pod("backend-1")?;
    for vip in BACKEND.sockets() {
        let report = http_many(&pod.netns, vip, HAIRPINS, 4)?;
        talk.claim(
            format!(
                "backend-1 makes {} requests to {}: {} errors, {} answers from itself",
                report.total,
                shell::url(vip),
                report.errors,
                report.of("backend-1")
            ),
            report.errors == 0 && report.of("backend-1") > 0,
        );
    }
    Ok(())
}

/// The stranger's packets are led to a node, or nothing would be shown.
fn stranger(cluster: &Cluster, talk: &mut Talk) -> Result<()> {
    let stranger = &cluster.stranger;
    let node_ipv4 = cluster.nodes()[0].ipv4;
    let node_ipv6 = cluster.nodes()[0].ipv6;
    stranger.netns.ip(&[
        format!("route add {VIPS_V4} via {node_ipv4}"),
        format!("route add {VIPS_V6} via {node_ipv6}"),
    ])?;
    talk.say("a machine outside of the cluster that sends packets for VIPs to node1:");
    let pod = cluster.pod("backend-1")?;
    let [vip_v4, vip_v6] = BACKEND.vips();
    for (address, reachable) in [
        (IpAddr::from(pod.ipv4), true),
        (vip_v4, false),
        (vip_v6, false),
    ] {
        let url = shell::url((address, 80).into());
        let words = ["curl", "-sS", "--max-time", "1", &url];
        let ran = shell::run(&stranger.netns, &stranger.name, Dns::cluster(), &words)?;
        talk.command(&ran);
        if reachable {
            talk.claim(
                "the pod's own address, which is for no Service, is not touched",
                ran.succeeded,
            );
        } else {
            talk.claim(
                format!("the VIP {address} is not reachable from outside"),
                !ran.succeeded,
            );
        }
    }
    Ok(())
}
