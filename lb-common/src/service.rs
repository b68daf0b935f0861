//! The names of service ports, kept in a map so that every tool can speak in them while no agent runs.

use crate::addr::Protocol;
use crate::layout::map_type;

map_type! {
    /// Value of `services`; the key is the service id, a `u32` that is never 0. Names are padded with zeros.
    ///
    /// The lengths are the API's limits: 63 octets for a namespace and a Service's name (RFC 1123 label), 15 for a port's
    /// name (RFC 6335).
    pub struct ServiceName {
        namespace: [u8; 64],
        name: [u8; 64],
        port_name: [u8; 16],
        protocol: u8,
        reserved: [u8; 3],
    }
}

impl ServiceName {
    /// The name of a service port, or none where a part is longer than the API allows.
    pub fn new(namespace: &str, name: &str, port_name: &str, protocol: Protocol) -> Option<Self> {
        Some(Self {
            namespace: padded(namespace)?,
            name: padded(name)?,
            port_name: padded(port_name)?,
            protocol: protocol.number(),
            reserved: [0; 3],
        })
    }

    /// Namespace of the Service.
    pub fn namespace(&self) -> &str {
        text(&self.namespace)
    }

    /// Name of the Service.
    pub fn name(&self) -> &str {
        text(&self.name)
    }

    /// Name of the port, empty where the only port has none.
    pub fn port_name(&self) -> &str {
        text(&self.port_name)
    }

    /// Protocol of the port.
    pub fn protocol(&self) -> Option<Protocol> {
        Protocol::from_number(self.protocol)
    }
}

fn padded<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    // One zero at the end always, so that a reader in C finds its end.
    if text.len() >= N || text.bytes().any(|b| b == 0) {
        return None;
    }
    octets[..text.len()].copy_from_slice(text.as_bytes());
    Some(octets)
}

fn text(octets: &[u8]) -> &str {
    let end = octets.iter().position(|b| *b == 0).unwrap_or(octets.len());
    core::str::from_utf8(&octets[..end]).unwrap_or("?")
}
