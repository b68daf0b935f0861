//! What is compared: data planes, with how many Services, and whom the client asks. And with what: workloads and places.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What translates between client and backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plane {
    /// Nothing: the client asks the pod itself, and the nodes have no netfilter rule
    Direct,
    /// The same, with programs that do nothing where lb has its own
    Idle,
    /// kube-proxy in nftables mode
    Nftables,
    /// kube-proxy in iptables mode, with the kernel's old tables
    Iptables,
    /// kube-proxy in iptables mode, with nftables beneath
    IptablesNft,
    /// lb, and the host's stack: the default
    Stack,
    /// lb with --redirect=on on the client's node alone; it differs from `redirect` where the backend is on another node
    RedirectClient,
    /// lb with --redirect=on on both nodes
    Redirect,
    /// lb with --socket-lb=all
    Sockets,
    /// lb with --socket-lb=all and --redirect=on on both nodes
    SocketsRedirect,
}

/// Whom the client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asks {
    /// The VIP of a Service.
    Vip,
    /// The pod's own address: traffic that is for no Service.
    Pod,
}

/// A column of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mode {
    pub plane: Plane,
    pub asks: Asks,
    /// How many Services the nodes have; 0 for none.
    pub services: u32,
}

/// Where the backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On the client's node.
    Local,
    /// On the other node.
    Remote,
}

/// What client and server do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// An octet to and fro, again and again, on one TCP connection.
    TcpRr,
    /// A TCP connection for each octet to and fro.
    TcpCrr,
    /// An octet to and fro, again and again, from one connected UDP socket.
    UdpRr,
    /// One TCP connection, as much as it takes.
    Stream,
}

impl Plane {
    /// What is measured if nothing is said.
    pub const DEFAULT: [Plane; 9] = [
        Plane::Direct,
        Plane::Idle,
        Plane::Nftables,
        Plane::Iptables,
        Plane::Stack,
        Plane::RedirectClient,
        Plane::Redirect,
        Plane::Sockets,
        Plane::SocketsRedirect,
    ];

    /// As it stands in a table.
    pub fn name(self) -> &'static str {
        match self {
            Plane::Direct => "direct",
            Plane::Idle => "programs that do nothing",
            Plane::Nftables => "kube-proxy nftables",
            Plane::Iptables => "kube-proxy iptables-legacy",
            Plane::IptablesNft => "kube-proxy iptables-nft",
            Plane::Stack => "lb",
            Plane::RedirectClient => "lb redirect, client's node",
            Plane::Redirect => "lb redirect",
            Plane::Sockets => "lb sockets",
            Plane::SocketsRedirect => "lb sockets + redirect",
        }
    }

    /// Whether it is kube-proxy.
    pub fn is_kube_proxy(self) -> bool {
        matches!(self, Plane::Nftables | Plane::Iptables | Plane::IptablesNft)
    }

    /// Whether it is this project.
    pub fn is_lb(self) -> bool {
        self.has_services() && !self.is_kube_proxy()
    }

    /// Whether there is anything to translate.
    pub fn has_services(self) -> bool {
        !matches!(self, Plane::Direct | Plane::Idle)
    }

    /// Whether a node, 1 or 2, hands packets on past its stack.
    pub fn redirects(self, node: usize) -> bool {
        match self {
            Plane::Redirect | Plane::SocketsRedirect => true,
            Plane::RedirectClient => node == 1,
            _ => false,
        }
    }

    /// Whether sockets in pods are served.
    pub fn serves_sockets(self) -> bool {
        matches!(self, Plane::Sockets | Plane::SocketsRedirect)
    }
}

impl Mode {
    /// All of them, `direct` first: `sizes` for lb, `proxy_sizes` for kube-proxy. Traffic for no Service is looked at with the
    /// most Services.
    pub fn all(planes: &[Plane], sizes: &[u32], proxy_sizes: &[u32]) -> Vec<Mode> {
        let mode = |plane, services, asks| Mode {
            plane,
            services,
            asks,
        };
        let mut modes = vec![mode(Plane::Direct, 0, Asks::Pod)];
        if planes.contains(&Plane::Idle) {
            modes.push(mode(Plane::Idle, 0, Asks::Pod));
        }
        for &plane in planes.iter().filter(|plane| plane.has_services()) {
            let sizes = if plane.is_lb() { sizes } else { proxy_sizes };
            modes.extend(sizes.iter().map(|size| mode(plane, *size, Asks::Vip)));
            let also_pods =
                plane.is_kube_proxy() || matches!(plane, Plane::Stack | Plane::Redirect);
            if let (true, Some(most)) = (also_pods, sizes.iter().max()) {
                modes.push(mode(plane, *most, Asks::Pod));
            }
        }
        modes
    }

    /// Whether there is something to learn from it.
    pub fn is_measured(self, place: Place, workload: Workload) -> bool {
        if self.plane == Plane::RedirectClient && place == Place::Local {
            return false;
        }
        let is_short = matches!(workload, Workload::TcpRr | Workload::TcpCrr);
        !self.plane.has_services() || self.asks == Asks::Vip || is_short
    }

    /// As it stands in a table.
    pub fn name(self) -> String {
        match self.plane {
            plane if !plane.has_services() => plane.name().to_owned(),
            plane => {
                let asks = match self.asks {
                    Asks::Vip => "",
                    Asks::Pod => ", for no Service",
                };
                format!("{}, {}{asks}", plane.name(), self.services)
            }
        }
    }
}

impl Place {
    pub const ALL: [Place; 2] = [Place::Local, Place::Remote];

    pub fn name(self) -> &'static str {
        match self {
            Place::Local => "local",
            Place::Remote => "remote",
        }
    }

    /// The nodes, 1 and 2, that a packet crosses.
    pub fn nodes(self) -> &'static [usize] {
        match self {
            Place::Local => &[1],
            Place::Remote => &[1, 2],
        }
    }
}

impl Workload {
    pub const ALL: [Workload; 4] = [
        Workload::TcpRr,
        Workload::TcpCrr,
        Workload::UdpRr,
        Workload::Stream,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Workload::TcpRr => "RR",
            Workload::TcpCrr => "CRR",
            Workload::UdpRr => "UDP_RR",
            Workload::Stream => "stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_comes_first_and_pods_are_asked_with_the_most_services() {
        let modes = Mode::all(
            &[
                Plane::Redirect,
                Plane::Nftables,
                Plane::Idle,
                Plane::Sockets,
            ],
            &[1, 100],
            &[1, 10],
        );
        let names: Vec<String> = modes.into_iter().map(Mode::name).collect();
        let expected = [
            "direct",
            "programs that do nothing",
            "lb redirect, 1",
            "lb redirect, 100",
            "lb redirect, 100, for no Service",
            "kube-proxy nftables, 1",
            "kube-proxy nftables, 10",
            "kube-proxy nftables, 10, for no Service",
            "lb sockets, 1",
            "lb sockets, 100",
        ];
        assert_eq!(names, expected);
    }
}
