//! Services in the maps, written as the agent writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use lb_common::addr::Protocol;
use lb_common::backend::{BackendState, list};
use lb_common::frontend::{Frontend, SlotRange};
use lb_userspace::maps::bpf::BpfMaps;
use lb_userspace::maps::{BackendRow, FrontendAt, Maps, Op, row};

/// The port of every Service, and of its endpoint.
pub const PORT: u16 = 80;

/// The VIP of a Service by its number, in both families.
pub fn vips(number: u32) -> [IpAddr; 2] {
    let v4 = u32::from(Ipv4Addr::new(10, 96, 0, 1)) + number;
    let v6 = u128::from(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 1)) + u128::from(number);
    [Ipv4Addr::from(v4).into(), Ipv6Addr::from(v6).into()]
}

/// Writes so many Services, of TCP, each with an endpoint.
///
/// The endpoint of each is the VIP itself. So a packet that was translated is the same packet, and can be translated again and
/// again; every step is taken but for the change of a port.
///
/// # Errors
/// If the kernel refuses a write.
pub fn write(maps: &mut BpfMaps, services: u32) -> Result<()> {
    let mut backends = Vec::new();
    let mut frontends = Vec::new();
    let mut bits = Vec::new();
    let mut ids = Vec::new();
    for number in 0..services {
        for vip in vips(number) {
            let id = ids.len() as u32;
            let service = number + 1;
            let at = SocketAddr::new(vip, PORT);
            let row = BackendRow::new(at, BackendState::Active, 1, service).listed(list::CLUSTER);
            backends.push(Op::PutBackend(id + 1, row));
            ids.push(id + 1);
            let range = SlotRange { offset: id, len: 1 };
            let none = SlotRange::default();
            let frontend = Frontend::new(service, range, none, 0, Frontend::HAS_ENDPOINTS);
            frontends.push(Op::PutFrontend(
                FrontendAt::address_row(vip),
                Frontend::address_row(true),
            ));
            frontends.push(Op::PutFrontend(
                FrontendAt::new(at, Protocol::Tcp),
                frontend,
            ));
            bits.push(Op::SetVipBit(row::vip_bit(&vip)));
        }
    }
    let slots = Op::WriteSlots {
        offset: 0,
        ids: ids.into(),
    };
    for ops in [backends, vec![slots], frontends, bits] {
        for done in maps.apply(&ops) {
            done?;
        }
    }
    Ok(())
}
