//! A process of the node itself that goes on while the pods behind a VIP change. As upstream's, it opens a socket on one and
//! the same port for each datagram.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::client::UdpClient;
use serde_json::json;

use super::{server, udp_service};
use crate::case::{Case, PATIENCE, Pod, Service, eventually};

/// A process, and the port that it uses for each VIP.
struct Process {
    pod: Pod,
    ports: Vec<(SocketAddr, u16)>,
}

pub fn cycles(case: &Case<'_>) -> Result<()> {
    let service = udp_service(case, json!({}))?;
    let pod = case.pod("client").on(1).on_host_network().ready()?;
    let process = Process::new(pod, &service)?;
    process.send();
    let first = server(case, "backend-1", 2)?;
    process.reach(&first)?;
    let second = server(case, "backend-2", 2)?;
    case.delete_pod(&first)?;
    case.until_gone(&first)?;
    process.reach(&second)
}

impl Process {
    fn new(pod: Pod, service: &Service) -> Result<Self> {
        let port = |to| {
            // Any that is free now.
            let bound = pod
                .netns
                .run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)));
            anyhow::Ok((to, bound?.local_addr()?.port()))
        };
        let ports = service.at(80).into_iter().map(port);
        let ports = ports.collect::<Result<_>>()?;
        Ok(Process { pod, ports })
    }

    fn send(&self) {
        for (to, port) in &self.ports {
            // Nobody serves yet.
            let _ = self.ask(*to, *port);
        }
    }

    fn reach(&self, server: &Pod) -> Result<()> {
        for (to, port) in &self.ports {
            let what = format!("{} to answer the host's port {port}", server.name);
            eventually(&what, PATIENCE, || {
                let answered = self.ask(*to, *port)?;
                ensure!(answered == server.hostname, "{answered} has answered");
                Ok(Some(()))
            })?;
        }
        Ok(())
    }

    fn ask(&self, to: SocketAddr, port: u16) -> Result<String> {
        let answer = self.pod.run(|| {
            let socket = UdpClient::open_from(&self.pod.netns, to, port)?;
            socket
                .with_timeout(Duration::from_millis(300))
                .request(b"again")
        });
        Ok(answer?.pod)
    }
}
