//! Addresses that a Service has and that no frontend is at: those of other proxies' Services, of Services that can't be read or
//! resolved, and of those that there is no room for. They are somebody's, though not ours to serve (S-30 d).

use std::collections::BTreeSet;
use std::mem;
use std::net::IpAddr;

use super::Desired;
use crate::model::ObjectName;

impl Desired {
    /// Sets the addresses of a Service that is not to be served; none for one that is, or is gone.
    pub fn set_unserved(&mut self, service: &ObjectName, addresses: &[IpAddr]) {
        let before = self.unserved.get(service).map_or(&[][..], |before| before);
        if before == addresses {
            return;
        }
        self.unserved_changed = true;
        if addresses.is_empty() {
            self.unserved.remove(service);
        } else {
            self.unserved.insert(service.clone(), addresses.into());
        }
    }

    /// The addresses, where they may have changed since the last call.
    pub fn take_unserved(&mut self) -> Option<BTreeSet<IpAddr>> {
        if !mem::take(&mut self.unserved_changed) {
            return None;
        }
        let told = self.unserved.values().flatten().copied();
        let failed = self.problems.keys().filter_map(|it| self.wanted.get(it));
        let frontends = failed.flat_map(|ports| ports.iter().flat_map(|port| &port.frontends));
        let all = told.chain(frontends.map(|at| at.ip()));
        Some(all.filter(|it| !self.vips.contains_key(it)).collect())
    }
}
