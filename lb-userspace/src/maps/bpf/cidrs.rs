//! The Service CIDRs of a family: the one element of an array.

use std::net::IpAddr;

use aya::maps::{Array, Map, MapData};
use lb_common::addr::Address;
use lb_common::service_cidr::ServiceCidrs;

use super::error;
use super::open::Pins;
use super::wire::Wire;
use crate::maps::MapError;
use crate::model::Cidr;

/// `service_cidr_v4` or `service_cidr_v6`.
pub struct Cidrs<A>
where
    ServiceCidrs<A>: bytemuck::Pod,
{
    name: &'static str,
    map: Array<MapData, Wire<ServiceCidrs<A>>>,
}

impl<A: Address + Into<IpAddr>> Cidrs<A>
where
    ServiceCidrs<A>: bytemuck::Pod,
{
    /// Opens the map of this name.
    pub fn open(pins: &Pins<'_>, name: &'static str) -> Result<Self, MapError> {
        let map = pins.typed(name, |data| Map::Array(data).try_into())?;
        Ok(Self { name, map })
    }

    /// What is there.
    pub fn get(&self) -> Result<Vec<Cidr>, MapError> {
        let Wire(cidrs) = self.map.get(&0, 0).map_err(|e| self.failed("read", e))?;
        let ranges = cidrs.ranges();
        Ok(ranges
            .map(|(prefix, length)| Cidr::new(prefix.into(), length as u8))
            .collect())
    }

    /// Replaces what is there. The kernel writes an element while programs read it, so it is emptied first: none shall see the
    /// half of one range with the half of another.
    pub fn put(&mut self, cidrs: &[Cidr]) -> Result<(), MapError> {
        let ranges = cidrs
            .iter()
            .filter_map(|cidr| Some((octets(cidr.prefix())?, u32::from(cidr.length()))));
        for element in [ServiceCidrs::none(), ServiceCidrs::new(ranges)] {
            let written = self.map.set(0, Wire(element), 0);
            written.map_err(|e| self.failed("put", e))?;
        }
        Ok(())
    }

    fn failed(&self, action: &'static str, cause: aya::maps::MapError) -> MapError {
        error::write(self.name, action, "its element".to_owned(), cause)
    }
}

/// The octets of an address of the family.
fn octets<A: Address>(address: IpAddr) -> Option<A> {
    let octets = match &address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    bytemuck::try_pod_read_unaligned(&octets).ok()
}
