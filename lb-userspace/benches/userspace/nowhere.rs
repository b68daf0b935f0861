//! Maps that take every write and hold nothing: what is left is the cost of the stages above.

use std::net::IpAddr;
use std::ops::Range;

use lb_common::affinity::Affinity;
use lb_common::config::Config;
use lb_common::frontend::Frontend;
use lb_common::service::ServiceName;
use lb_common::socket::SocketPeer;
use lb_common::{entries, reason, vip_filter};
use lb_userspace::maps::{
    AffinityRow, BackendRow, FlowRow, FrontendAt, Limits, MapError, Maps, Op, Walk,
};
use lb_userspace::model::Cidr;

use crate::agent::LIMITS;

/// The maps. They remember the writes if they are told to.
#[derive(Default)]
pub struct Nowhere {
    pub log: Option<Vec<Op>>,
}

impl Maps for Nowhere {
    fn frontends(&self) -> Result<Vec<(FrontendAt, Frontend)>, MapError> {
        Ok(Vec::new())
    }

    fn backends(&self) -> Result<Vec<(u32, BackendRow)>, MapError> {
        Ok(Vec::new())
    }

    fn services(&self) -> Result<Vec<(u32, ServiceName)>, MapError> {
        Ok(Vec::new())
    }

    fn slots(&self, range: Range<u32>) -> Result<Vec<u32>, MapError> {
        Ok(vec![0; range.len()])
    }

    fn vip_filter(&self) -> Result<Vec<u64>, MapError> {
        Ok(vec![0; vip_filter::WORDS as usize])
    }

    fn unserved(&self) -> Result<Vec<IpAddr>, MapError> {
        Ok(Vec::new())
    }

    fn service_cidrs(&self) -> Result<Vec<Cidr>, MapError> {
        Ok(Vec::new())
    }

    fn config(&self) -> Result<Config, MapError> {
        Ok(bytemuck::Zeroable::zeroed())
    }

    fn flow_table(&self, _: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        Ok(Walk::Complete)
    }
    fn conntrack(&self, _: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        Ok(Walk::Complete)
    }

    fn transient(&self, _: &mut dyn FnMut(FlowRow)) -> Result<Walk, MapError> {
        Ok(Walk::Complete)
    }

    fn affinity(&self, _: &mut dyn FnMut(AffinityRow)) -> Result<Walk, MapError> {
        Ok(Walk::Complete)
    }

    fn socket_peers(&self, _: &mut dyn FnMut(SocketPeer)) -> Result<Walk, MapError> {
        Ok(Walk::Complete)
    }

    fn socket_affinity(&self, _: &mut dyn FnMut(Affinity)) -> Result<Walk, MapError> {
        Ok(Walk::Complete)
    }

    fn counters(&self) -> Result<Vec<u64>, MapError> {
        Ok(vec![0; reason::COUNT as usize])
    }

    fn lru_entries(&self) -> Result<Vec<u64>, MapError> {
        Ok(vec![0; entries::COUNT as usize])
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), MapError>> {
        if let Some(log) = &mut self.log {
            log.extend_from_slice(ops);
        }
        ops.iter().map(|_| Ok(())).collect()
    }
}
