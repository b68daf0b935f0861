//! A client that opens its UDP socket once and never again, while pods and Service change behind the VIP (S-51).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use cluster::kubelet::Place;
use lab::client::UdpClient;

use super::PATIENCE;
use super::cluster::{Cluster, eventually, test};

const DEPLOYMENT: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: dns}, spec: {
    replicas: 1, selector: {matchLabels: {app: dns}}, template: {metadata: {labels: {app: dns}}, spec: {
      terminationGracePeriodSeconds: 1,
      containers: [{name: dns, image: agnhost, args: [netexec, --http-port=8080, --udp-port=5353],
        readinessProbe: {httpGet: {path: /readyz, port: 8080}}}]}}}}";

fn service(vips: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: dns}}, spec: {{selector: {{app: dns}}, \
         ipFamilyPolicy: RequireDualStack, {vips} ports: [{{port: 53, targetPort: 5353, protocol: UDP}}]}}}}"
    )
}

#[test]
fn s_51_a_udp_socket_that_is_never_reopened_follows_its_service_through_everything() -> Result<()> {
    test("udp", |cluster, namespace| {
        cluster.apply(namespace, &format!("{}\n---\n{DEPLOYMENT}", service("")))?;
        cluster.wait_for_rollout(namespace, "deployment/dns")?;
        let at = cluster.vips(namespace, "dns", 53)?;
        let clients = [
            cluster.client(namespace, "near", 0)?,
            cluster.client(namespace, "far", 1)?,
        ];
        let sockets = Sockets::open(&clients, at)?;
        let first = only_pod(cluster, namespace)?;
        sockets.reach(&first)?;

        cluster.kubectl(&format!("-n {namespace} delete pod {first}"))?;
        cluster.wait_for_rollout(namespace, "deployment/dns")?;
        let second = only_pod(cluster, namespace)?;
        sockets.reach(&second)?;

        cluster.kubectl(&format!("-n {namespace} scale deployment/dns --replicas=0"))?;
        sockets.reach_nobody()?;
        cluster.kubectl(&format!("-n {namespace} scale deployment/dns --replicas=1"))?;
        cluster.wait_for_rollout(namespace, "deployment/dns")?;
        let third = only_pod(cluster, namespace)?;
        sockets.reach(&third)?;

        cluster.kubectl(&format!("-n {namespace} delete service dns"))?;
        sockets.reach_nobody()?;
        let [v4, v6] = at.map(|at| at.ip());
        let vips = format!("clusterIP: {v4}, clusterIPs: ['{v4}', '{v6}'],");
        cluster.apply(namespace, &service(&vips))?;
        sockets.reach(&third)
    })
}

/// One for each client and VIP, each opened once.
struct Sockets(Vec<UdpClient>);

impl Sockets {
    fn open(clients: &[Place], at: [SocketAddr; 2]) -> Result<Self> {
        let mut sockets = Vec::new();
        for client in clients {
            for to in at {
                let socket = UdpClient::open(&client.netns, to)?;
                sockets.push(socket.with_timeout(Duration::from_millis(300)));
            }
        }
        Ok(Self(sockets))
    }

    /// Waits until each is answered by this pod, and then by no other.
    fn reach(&self, pod: &str) -> Result<()> {
        for socket in &self.0 {
            eventually(&format!("an answer of {pod}"), PATIENCE, || {
                let answer = socket.request(b"who?")?;
                Ok((answer.pod == pod).then_some(()))
            })?;
            for _ in 0..5 {
                assert_eq!(socket.request(b"who?")?.pod, pod);
            }
        }
        Ok(())
    }

    /// Waits until none is answered any more.
    fn reach_nobody(&self) -> Result<()> {
        for socket in &self.0 {
            eventually("no answer", PATIENCE, || {
                Ok(socket.request(b"who?").is_err().then_some(()))
            })?;
        }
        Ok(())
    }
}

fn only_pod(cluster: &Cluster, namespace: &str) -> Result<String> {
    eventually("one pod", PATIENCE, || {
        let mut pods = cluster.places(namespace, "app=dns")?;
        let pod = pods.pop().map(|(name, _)| name);
        Ok(pod.filter(|_| pods.is_empty()))
    })
}
