//! The pods of this node that packets can be handed to past the host's stack. They are no part of what Services want, so they
//! have a writer of their own.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::path::Path;

use bytemuck::Pod;
use lb_common::layout::name;
use lb_common::redirect::LocalPod;

use super::open::{Access, Pins};
use super::table::Table;
use crate::maps::MapError;
use crate::maps::row::{V4, V6};

/// The maps of both families.
pub struct LocalPodMaps {
    v4: Table<V4, LocalPod>,
    v6: Table<V6, LocalPod>,
}

impl LocalPodMaps {
    /// Opens the maps pinned in `dir`.
    ///
    /// # Errors
    /// If one can't be opened or has another shape.
    pub fn open(dir: &Path, access: Access) -> Result<Self, MapError> {
        let pins = Pins { dir, access };
        Ok(Self {
            v4: pins.table(name::LOCAL_PODS_V4)?,
            v6: pins.table(name::LOCAL_PODS_V6)?,
        })
    }

    /// What the maps hold.
    ///
    /// # Errors
    /// If the kernel refuses a read.
    pub fn rows(&self) -> Result<BTreeMap<IpAddr, LocalPod>, MapError> {
        let mut rows = BTreeMap::new();
        self.v4.each(&mut |address, pod| {
            rows.insert(IpAddr::from(address), pod);
        })?;
        self.v6.each(&mut |address, pod| {
            rows.insert(IpAddr::from(address), pod);
        })?;
        Ok(rows)
    }

    /// Makes the maps hold `desired` where they hold `actual`: what is gone first.
    ///
    /// # Errors
    /// If the kernel refuses a write, a full map among the reasons; what came before it is written.
    pub fn change(
        &mut self,
        actual: &BTreeMap<IpAddr, LocalPod>,
        desired: &BTreeMap<IpAddr, LocalPod>,
    ) -> Result<(), MapError> {
        for address in actual.keys().filter(|it| !desired.contains_key(it)) {
            match address {
                IpAddr::V4(ip) => self.v4.delete(&ip.octets(), &|| format!("pod {ip}"))?,
                IpAddr::V6(ip) => self.v6.delete(&ip.octets(), &|| format!("pod {ip}"))?,
            }
        }
        for (address, pod) in desired {
            if actual.get(address) != Some(pod) {
                match address {
                    IpAddr::V4(ip) => put(&mut self.v4, &ip.octets(), pod, address)?,
                    IpAddr::V6(ip) => put(&mut self.v6, &ip.octets(), pod, address)?,
                }
            }
        }
        Ok(())
    }
}

fn put<A: Pod + Eq + Hash>(
    table: &mut Table<A, LocalPod>,
    key: &A,
    pod: &LocalPod,
    address: &IpAddr,
) -> Result<(), MapError> {
    table.put(key, pod, &|| format!("pod {address}"))
}
