//! Services and EndpointSlices as manifests. They are dual-stack, and lead three ports to what
//! [`backend`](super::Cluster::backend) pods serve.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lab::Pod;

/// A port of every Service.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Its name.
    pub name: &'static str,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// What clients connect to.
    pub port: u16,
    /// What pods listen on: never the same, so that a port that is not translated shows.
    pub target: u16,
}

/// Requests over HTTP.
pub const HTTP: Port = Port {
    name: "http",
    protocol: "TCP",
    port: 80,
    target: 8080,
};
/// Datagrams.
pub const DATAGRAMS: Port = Port {
    name: "datagrams",
    protocol: "UDP",
    port: 53,
    target: 5353,
};
/// Long streams.
pub const STREAMS: Port = Port {
    name: "streams",
    protocol: "TCP",
    port: 7000,
    target: 7070,
};
const PORTS: [Port; 3] = [HTTP, DATAGRAMS, STREAMS];

/// A Service with an IPv4 and an IPv6 VIP.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, in the namespace `default`.
    pub name: &'static str,
    vip: u8,
    is_local: bool,
    sticky_seconds: Option<u32>,
    year: u16,
}

impl Service {
    /// A Service with the VIPs 10.96.0.`vip` and fd00:10:96::`vip` (hexadecimal).
    pub fn new(name: &'static str, vip: u8) -> Self {
        Self {
            name,
            vip,
            is_local: false,
            sticky_seconds: None,
            year: 2026,
        }
    }

    /// `internalTrafficPolicy: Local`.
    pub fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// `sessionAffinity: ClientIP` for so many seconds.
    pub fn sticky(mut self, seconds: u32) -> Self {
        self.sticky_seconds = Some(seconds);
        self
    }

    /// Made in this year: of two Services the older one keeps what both want.
    pub fn made_in(mut self, year: u16) -> Self {
        self.year = year;
        self
    }

    /// IPv4, then IPv6.
    pub fn vips(&self) -> [IpAddr; 2] {
        [
            Ipv4Addr::new(10, 96, 0, self.vip).into(),
            Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, self.vip.into()).into(),
        ]
    }

    /// The VIPs with a port of the Service.
    pub fn at(&self, port: Port) -> [SocketAddr; 2] {
        self.vips().map(|vip| (vip, port.port).into())
    }

    /// Name of the file that holds its manifests.
    pub fn file(&self) -> String {
        format!("{}.yaml", self.name)
    }

    /// The Service and an EndpointSlice for each family.
    pub fn manifests(&self, endpoints: &[Endpoint]) -> String {
        let Self { name, year, .. } = self;
        let [v4, v6] = self.vips();
        let policy = if self.is_local { "Local" } else { "Cluster" };
        let affinity = match self.sticky_seconds {
            None => "sessionAffinity: None".to_owned(),
            Some(seconds) => format!(
                "sessionAffinity: ClientIP\n  sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}"
            ),
        };
        let mut text = format!(
            "apiVersion: v1
kind: Service
metadata:
  name: {name}
  creationTimestamp: \"{year}-01-01T00:00:00Z\"
spec:
  clusterIP: \"{v4}\"
  clusterIPs: [\"{v4}\", \"{v6}\"]
  ipFamilies: [IPv4, IPv6]
  internalTrafficPolicy: {policy}
  {affinity}
  ports:
"
        );
        for Port {
            name,
            protocol,
            port,
            target,
        } in PORTS
        {
            let _ = writeln!(
                text,
                "    - {{name: {name}, protocol: {protocol}, port: {port}, targetPort: {target}}}"
            );
        }
        for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
            text += &self.slice(family, endpoints, index);
        }
        text
    }

    /// Where new connections to any of its ports are led, all ports together, as an agent on `node` sees it.
    pub fn selectable(&self, endpoints: &[Endpoint], node: &str) -> BTreeSet<SocketAddr> {
        let near = endpoints
            .iter()
            .filter(|endpoint| !self.is_local || endpoint.node == node);
        let of = |condition| {
            near.clone()
                .filter(move |endpoint| endpoint.condition == condition)
        };
        let mut chosen: Vec<_> = of(Condition::Ready).collect();
        if chosen.is_empty() {
            chosen = of(Condition::Draining).collect();
        }
        Self::targets(chosen)
    }

    /// The addresses of endpoints with every port that they serve.
    pub fn targets<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> BTreeSet<SocketAddr> {
        endpoints
            .into_iter()
            .flat_map(|endpoint| endpoint.addresses)
            .flat_map(|address| PORTS.map(|port| (address, port.target).into()))
            .collect()
    }

    /// Every frontend that it has, with the seconds for which clients stay with their backends.
    pub fn frontends(&self) -> BTreeMap<SocketAddr, u64> {
        let seconds = u64::from(self.sticky_seconds.unwrap_or(0));
        let frontends = PORTS.iter().flat_map(|port| self.at(*port));
        frontends.map(|frontend| (frontend, seconds)).collect()
    }

    fn slice(&self, family: &str, endpoints: &[Endpoint], index: usize) -> String {
        let Self { name, .. } = self;
        let mut text = format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{}
  labels: {{kubernetes.io/service-name: {name}}}
addressType: {family}
ports:
",
            family.to_lowercase()
        );
        for port in PORTS {
            let _ = writeln!(
                text,
                "  - {{name: {}, protocol: {}, port: {}}}",
                port.name, port.protocol, port.target
            );
        }
        text += if endpoints.is_empty() {
            "endpoints: []\n"
        } else {
            "endpoints:\n"
        };
        for endpoint in endpoints {
            let (ready, terminating) = match endpoint.condition {
                Condition::Ready => (true, false),
                Condition::Draining => (false, true),
            };
            let _ = writeln!(
                text,
                "  - addresses: [\"{}\"]\n    nodeName: {}\n    conditions: {{ready: {ready}, serving: true, terminating: {terminating}}}",
                endpoint.addresses[index], endpoint.node
            );
        }
        text
    }
}

/// A pod as a Service's endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    addresses: [IpAddr; 2],
    node: String,
    condition: Condition,
}

/// How an endpoint is, as the endpoint slice controller tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// It serves.
    Ready,
    /// Its pod is being deleted and serves still.
    Draining,
}

impl Endpoint {
    /// A pod that serves.
    pub fn of(pod: &Pod) -> Self {
        Self {
            addresses: pod.addresses(),
            node: pod.node.clone(),
            condition: Condition::Ready,
        }
    }

    /// A pod that is being deleted and serves still.
    pub fn draining(pod: &Pod) -> Self {
        Self {
            condition: Condition::Draining,
            ..Self::of(pod)
        }
    }

    /// All of these pods, ready.
    pub fn all(pods: &[Pod]) -> Vec<Self> {
        pods.iter().map(Self::of).collect()
    }
}
