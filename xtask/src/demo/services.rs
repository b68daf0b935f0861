//! The Services of the example, as far as the demonstration must know what `deploy/example` says: names, VIPs, ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A Service of the example.
#[derive(Debug)]
pub struct Service {
    pub namespace: &'static str,
    pub name: &'static str,
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
    pub ports: &'static [Port],
}

/// A port of a Service; its pods listen on the same number.
#[derive(Debug)]
pub struct Port {
    /// Empty where the Service has one port without a name.
    pub name: &'static str,
    pub protocol: &'static str,
    pub number: u16,
}

pub static BACKEND: Service = Service {
    namespace: "default",
    name: "backend",
    ipv4: vip_v4(10),
    ipv6: vip_v6(0x10),
    ports: &[Port::tcp("", 80)],
};
pub static REDIS: Service = Service {
    namespace: "default",
    name: "redis",
    ipv4: vip_v4(11),
    ipv6: vip_v6(0x11),
    ports: &[Port::tcp("", 6379)],
};
pub static MYSQL: Service = Service {
    namespace: "default",
    name: "mysql",
    ipv4: vip_v4(12),
    ipv6: vip_v6(0x12),
    ports: &[Port::tcp("", 3306)],
};
pub static KUBE_DNS: Service = Service {
    namespace: "kube-system",
    name: "kube-dns",
    ipv4: vip_v4(53),
    ipv6: vip_v6(0x53),
    ports: &[
        Port {
            name: "dns",
            protocol: "UDP",
            number: 53,
        },
        Port::tcp("dns-tcp", 53),
    ],
};

/// All of them.
pub static ALL: [&Service; 4] = [&BACKEND, &REDIS, &MYSQL, &KUBE_DNS];

impl Service {
    /// The VIPs with the number of the first port, IPv4 first.
    pub fn sockets(&self) -> [SocketAddr; 2] {
        self.vips()
            .map(|address| (address, self.ports[0].number).into())
    }

    /// The VIPs, IPv4 first.
    pub fn vips(&self) -> [IpAddr; 2] {
        [self.ipv4.into(), self.ipv6.into()]
    }

    /// The name that every client in the cluster can use.
    pub fn domain(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
}

impl Port {
    const fn tcp(name: &'static str, number: u16) -> Self {
        Self {
            name,
            protocol: "TCP",
            number,
        }
    }
}

const fn vip_v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, last)
}

const fn vip_v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, last)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::demo::manifests;

    #[test]
    fn the_manifests_of_the_example_say_the_same() {
        for service in ALL {
            let path = manifests::examples().join(format!("{}.yaml", service.name));
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let has = |line: String| assert!(lines.contains(&line.as_str()), "{line} in {path:?}");
            has("kind: Service".into());
            has(format!("name: {}", service.name));
            has(format!("clusterIP: {}", service.ipv4));
            has(format!("- {}", service.ipv6));
            for port in service.ports {
                has(format!("port: {}", port.number));
                has(format!("targetPort: {}", port.number));
                if !port.name.is_empty() {
                    has(format!("- name: {}", port.name));
                }
            }
        }
    }
}
