//! Names of service ports by service id.

use std::collections::HashMap;

use lb_common::addr::Protocol;
use lb_common::service::ServiceName;

use crate::maps::{MapError, Maps};

/// The names in the `services` map.
pub struct Names(HashMap<u32, ServiceName>);

impl Names {
    /// Reads them.
    pub fn read(maps: &dyn Maps) -> Result<Self, MapError> {
        Ok(Self(maps.services()?.into_iter().collect()))
    }

    /// The name of a service id.
    pub fn get(&self, id: u32) -> Option<&ServiceName> {
        self.0.get(&id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&u32, &ServiceName)> {
        self.0.iter()
    }

    /// The name of a service id as `namespace/name:port/PROTOCOL`; flows outlive their Service, so there may be none.
    pub fn text(&self, id: u32) -> String {
        self.get(id)
            .map_or_else(|| format!("unknown service port {id}"), text)
    }
}

/// A name as `namespace/name:port/PROTOCOL`.
pub fn text(name: &ServiceName) -> String {
    let mut text = format!("{}/{}", name.namespace(), name.name());
    if !name.port_name().is_empty() {
        text.push(':');
        text.push_str(name.port_name());
    }
    text.push('/');
    text.push_str(protocol(name));
    text
}

/// The protocol of a service port in capitals.
pub fn protocol(name: &ServiceName) -> &'static str {
    name.protocol().map_or("?", Protocol::name)
}
