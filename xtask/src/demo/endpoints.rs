//! The endpoint slice controller's part, which the demonstration plays: which pods stand behind a Service, in what
//! condition, and the EndpointSlices that say so. Writing them to files is in `manifests`.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::services::Service;

/// The pods behind the Services.
#[derive(Debug, Default)]
pub struct Endpoints {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    service: &'static Service,
    pod: String,
    node: String,
    addresses: [IpAddr; 2],
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Ready,
    Terminating,
}

impl Endpoints {
    /// A pod that answers stands behind a Service from now on. `addresses` are IPv4, then IPv6.
    pub fn add(
        &mut self,
        service: &'static Service,
        pod: &str,
        node: &str,
        addresses: [IpAddr; 2],
    ) {
        self.members.push(Member {
            service,
            pod: pod.to_owned(),
            node: node.to_owned(),
            addresses,
            phase: Phase::Ready,
        });
    }

    /// Somebody deleted the pod; it still serves what it has begun.
    pub fn terminate(&mut self, pod: &str) {
        for member in self.members.iter_mut().filter(|member| member.pod == pod) {
            member.phase = Phase::Terminating;
        }
    }

    /// The pod is gone.
    pub fn remove(&mut self, pod: &str) {
        self.members.retain(|member| member.pod != pod);
    }

    /// Addresses and ports that new connections may be sent to.
    pub fn ready(&self) -> impl Iterator<Item = SocketAddr> {
        self.members
            .iter()
            .filter(|member| member.phase == Phase::Ready)
            .flat_map(|member| {
                member.addresses.iter().flat_map(|&address| {
                    let ports = member.service.ports.iter();
                    ports.map(move |port| (address, port.number).into())
                })
            })
    }

    /// The two EndpointSlices of a Service, one a family, as one YAML text.
    pub fn slices(&self, service: &Service) -> String {
        let families = [("IPv4", 0), ("IPv6", 1)];
        let slices = families.map(|(family, index)| self.slice(service, family, index));
        slices.join("---\n")
    }

    fn slice(&self, service: &Service, family: &str, index: usize) -> String {
        let Service {
            namespace, name, ..
        } = service;
        let mut text = format!(
            "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{}
  namespace: {namespace}
  labels:
    kubernetes.io/service-name: {name}
    endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
addressType: {family}
ports:
",
            family.to_lowercase()
        );
        for port in service.ports {
            let _ = write!(
                text,
                "  - name: \"{}\"\n    protocol: {}\n    port: {}\n",
                port.name, port.protocol, port.number
            );
        }
        let mut members = self
            .members
            .iter()
            .filter(|member| std::ptr::eq(member.service, service))
            .peekable();
        text += if members.peek().is_some() {
            "endpoints:\n"
        } else {
            "endpoints: []\n"
        };
        for member in members {
            let terminating = member.phase == Phase::Terminating;
            let _ = write!(
                text,
                "  - addresses: [\"{}\"]
    conditions: {{ready: {}, serving: true, terminating: {terminating}}}
    nodeName: {}
    targetRef: {{kind: Pod, namespace: {namespace}, name: {}}}
",
                member.addresses[index], !terminating, member.node, member.pod
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::services::{BACKEND, KUBE_DNS};

    const ADDRESSES: [&str; 2] = ["10.244.1.2", "fd00:10:244:1::2"];

    fn one_pod(service: &'static Service) -> Endpoints {
        let mut endpoints = Endpoints::default();
        let addresses = ADDRESSES.map(|text| text.parse().unwrap());
        endpoints.add(service, "pod-1", "node1", addresses);
        endpoints
    }

    fn ready(endpoints: &Endpoints) -> Vec<String> {
        endpoints.ready().map(|socket| socket.to_string()).collect()
    }

    #[test]
    fn each_family_has_a_slice_of_its_own() {
        let text = one_pod(&KUBE_DNS).slices(&KUBE_DNS);
        let slices: Vec<&str> = text.split("---\n").collect();
        let [v4, v6] = slices[..] else {
            panic!("{text}")
        };
        for (slice, family, own, other) in [
            (v4, "IPv4", ADDRESSES[0], ADDRESSES[1]),
            (v6, "IPv6", ADDRESSES[1], ADDRESSES[0]),
        ] {
            assert!(slice.contains(&format!("addressType: {family}\n")));
            assert!(slice.contains(&format!("[\"{own}\"]")) && !slice.contains(other));
            assert!(slice.contains("namespace: kube-system\n"));
            assert_eq!(slice.matches("    port: 53\n").count(), 2);
        }
    }

    #[test]
    fn a_terminating_pod_serves_but_is_not_ready() {
        let mut endpoints = one_pod(&BACKEND);
        assert_eq!(
            ready(&endpoints),
            ["10.244.1.2:80", "[fd00:10:244:1::2]:80"]
        );
        assert!(
            endpoints
                .slices(&BACKEND)
                .contains("{ready: true, serving: true, terminating: false}")
        );
        endpoints.terminate("pod-1");
        assert!(ready(&endpoints).is_empty());
        assert!(
            endpoints
                .slices(&BACKEND)
                .contains("{ready: false, serving: true, terminating: true}")
        );
    }

    #[test]
    fn slices_without_pods_have_an_empty_list() {
        let mut endpoints = one_pod(&BACKEND);
        endpoints.remove("pod-1");
        let text = endpoints.slices(&BACKEND);
        assert_eq!(text.matches("endpoints: []\n").count(), 2);
        assert!(!text.contains("addresses:"));
    }
}
