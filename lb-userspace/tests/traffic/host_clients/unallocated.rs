//! A process of the node turns to an address of the Service CIDR that no Service has (S-30 d). `--service-cidr` names it.

use std::io::ErrorKind;
use std::time::Instant;

use anyhow::Result;
use lab::client::{self, ClientError};
use lab::{PacketSocket, wait_until};

use super::{AT_ONCE, PATIENCE, host, on_nodes, sockets};
use crate::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, Service};
use crate::outside::mentions;

/// One that the flag does not name: it does not count.
const ANOTHER: &str = "\
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata:
  name: another
spec:
  cidrs: [10.0.0.0/8]
";

/// As where the policy is Local and no endpoint is here: a connection times out, though at once, and a datagram is forbidden.
#[test]
fn its_calls_fail_and_no_packet_leaves_the_node_s30d() -> Result<()> {
    let builder = Cluster::builder()
        .nodes(1)
        .flag("--service-cidr", "10.96.0.0/12,fd00:10:96::/112");
    on_nodes("host-nobody", "host", builder, |cluster, cgroup| {
        let (web, nobody) = (Service::new("web", 10), Service::new("nobody", 11));
        let pod = cluster.backend(1, "b")?;
        cluster.write("another.yaml", ANOTHER)?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        let node = host(cluster);
        let agent = cluster.agent(1);
        wait_until("the Service CIDRs", PATIENCE, || {
            let expected = serde_json::json!(["10.96.0.0/12", "fd00:10:96::/112"]);
            let status = agent.json(&["status"]);
            status.is_ok_and(|status| status["service_cidrs"] == expected)
        })?;
        let sink = PacketSocket::open(&cluster.lab.outside().netns, "eth0")?;
        for to in nobody.at(HTTP) {
            let start = Instant::now();
            let outcome = cgroup.run(|| client::http_get(&node, to));
            let is_timeout = outcome.as_ref().is_err_and(ClientError::is_timeout);
            assert!(is_timeout, "{to}: {outcome:?}");
            assert!(start.elapsed() < AT_ONCE, "{to}: {:?}", start.elapsed());
        }
        for to in nobody.at(DATAGRAMS) {
            let socket = sockets::unconnected(&node, cgroup, to)?;
            let outcome = socket.send_to(b"anyone?", to).map_err(|error| error.kind());
            assert_eq!(outcome, Err(ErrorKind::PermissionDenied), "{to}");
            let outcome = cgroup.run(|| client::udp_exchange(&node, to, b"anyone?"));
            let kind = outcome.as_ref().err().and_then(ClientError::io_kind);
            assert_eq!(kind, Some(ErrorKind::PermissionDenied), "{to}");
        }
        assert!(cluster.agent(1).counter("socket-unallocated")? >= 6);
        for vip in nobody.vips() {
            let leaked = sink.drain(|frame| mentions(frame, vip))?;
            assert!(leaked.is_empty(), "left the node: {leaked:?}");
        }
        for to in web.at(HTTP) {
            assert_eq!(cgroup.run(|| client::http_get(&node, to))?.pod, "b");
        }
        Ok(())
    })
}
