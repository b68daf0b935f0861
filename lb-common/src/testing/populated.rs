//! A data plane with a service port of every shape, which change as Services and endpoints do, and the ends that packets go
//! between.

use std::hash::Hash;

use super::address::Numbered;
use super::memory::MemoryDataplane;
use super::random::Random;
use crate::addr::Protocol;
use crate::backend::{Backend, BackendState, list};
use crate::frontend::{Frontend, SlotRange};
use crate::packet::Parse;
use crate::service_cidr::ServiceCidrs;
use crate::vip_filter;

/// Endpoints' pods, some of which are clients as well.
const PODS: u8 = 4;
/// Seconds of session affinity of two service ports.
pub const AFFINITY_SECONDS: [u32; 2] = [170, 86_400];

/// Ids of the service ports.
mod id {
    pub const WEB: u32 = 1;
    pub const DNS: u32 = 2;
    /// The same endpoints as WEB, with affinity.
    pub const TWIN: u32 = 3;
    pub const EMPTY: u32 = 4;
    pub const LOCAL: u32 = 5;
    pub const ELSEWHERE: u32 = 6;
    pub const BROKEN: u32 = 7;
    pub const STICKY_DNS: u32 = 8;
    pub const SIGNALS: u32 = 9;
    /// The same endpoints as SIGNALS, with affinity.
    pub const SIGNALS_TWIN: u32 = 10;
}

/// A data plane with a service port of every shape.
pub struct Populated<A> {
    /// The data plane.
    pub dp: MemoryDataplane<A>,
    /// Ends that packets to Services come from; some are endpoints as well.
    pub clients: Vec<(A, u16)>,
    /// The endpoints.
    pub backends: Vec<(A, u16)>,
    /// Ends that clients' packets go to: frontends, unknown ports of VIPs, addresses of a Service CIDR, and others.
    pub destinations: Vec<(A, u16)>,
}

impl<A: Parse + Numbered + Hash> Populated<A> {
    /// A data plane whose slots follow those in `slots`: the other family's, where both share one table.
    pub fn new(slots: Vec<u32>) -> Self {
        let mut dp = MemoryDataplane::new();
        dp.flows.capacity = usize::MAX;
        dp.service_cidrs = ServiceCidrs::new([(A::vip(0), A::OCTETS as u32 * 8 - 8)]);
        dp.unserved.extend([A::vip(18), A::vip(20)]);
        // As if these shared a VIP's bit.
        for address in [A::vip(19), A::vip(20)] {
            dp.vip_filter.insert(vip_filter::bit(&address));
        }
        let pods: Vec<A> = (1..=PODS).map(A::pod).collect();
        let mut destinations = ends(&[A::vip(10)], &[80, 80, 80, 53, 53, 53, 81]);
        destinations.extend(ends(&[A::vip(11)], &[80, 80, 53]));
        destinations.extend(ends(&[A::vip(13), A::vip(16)], &[80, 80, 53, 53]));
        destinations.extend(ends(&[A::vip(12), A::vip(14), A::vip(15)], &[80]));
        destinations.extend(ends(&[A::vip(10), A::vip(11)], &[8080, 8080]));
        destinations.extend([(A::pod(1), 8080), (A::pod(9), 53)]);
        destinations.extend((17..=20).map(|n| (A::vip(n), 80)));
        // The answers of a pod to itself go to the VIP at the client's port.
        destinations.extend(ends(&[A::vip(10)], &[40_000, 40_001]));
        let mut populated = Self {
            dp,
            clients: ends(
                &[A::pod(1), A::pod(2), A::pod(100), A::pod(101)],
                &[40_000, 40_001, 40_002],
            ),
            backends: ends(&pods, &[8080, 5353]),
            destinations,
        };
        populated.serve(slots, &mut Random::new(0));
        populated
    }

    /// Gives each service port other endpoints: new ones, so that those of before are gone. The slots follow those in `slots`.
    pub fn serve(&mut self, slots: Vec<u32>, random: &mut Random) {
        self.dp.slots = slots;
        let mut some = |port| {
            let n = 1 + random.below(PODS as usize) as u8;
            ends(&(1..=n).map(A::pod).collect::<Vec<_>>(), &[port])
        };
        let [web, dns, twin, local, sticky] = [8080, 5353, 8080, 8080, 5353].map(&mut some);
        // Of one the port is translated, of the other it is not.
        let [signals, signals_twin] = [5353, 8080].map(&mut some);
        let dp = &mut self.dp;
        dp.serve(id::WEB, A::vip(10), 80, Protocol::Tcp, &web);
        dp.serve(id::DNS, A::vip(10), 53, Protocol::Udp, &dns);
        dp.serve(id::TWIN, A::vip(11), 80, Protocol::Tcp, &twin);
        dp.set_affinity_seconds(id::TWIN, AFFINITY_SECONDS[1]);
        dp.serve(id::EMPTY, A::vip(12), 80, Protocol::Tcp, &[]);
        dp.serve(id::STICKY_DNS, A::vip(16), 53, Protocol::Udp, &sticky);
        dp.set_affinity_seconds(id::STICKY_DNS, AFFINITY_SECONDS[0]);
        dp.serve(id::SIGNALS, A::vip(10), 8080, Protocol::Sctp, &signals);
        dp.serve(
            id::SIGNALS_TWIN,
            A::vip(11),
            8080,
            Protocol::Sctp,
            &signals_twin,
        );
        dp.set_affinity_seconds(id::SIGNALS_TWIN, AFFINITY_SECONDS[1]);
        self.serve_locally(&local);
        let none = SlotRange::default();
        let row = |id, range| Frontend::new(id, range, none, 0, Frontend::HAS_ENDPOINTS);
        let dp = &mut self.dp;
        let elsewhere = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
        dp.put_frontend(
            A::vip(14),
            80,
            Protocol::Tcp,
            Frontend::new(id::ELSEWHERE, none, none, 0, elsewhere),
        );
        let offset = dp.slots.len() as u32;
        dp.slots.extend([0, u32::MAX, 0, u32::MAX, 0]);
        let range = SlotRange { offset, len: 5 };
        dp.put_frontend(A::vip(15), 80, Protocol::Tcp, row(id::BROKEN, range));
    }

    /// Serves VIP 13, port 80, TCP, from the last of the endpoints alone: the one that is on this node.
    fn serve_locally(&mut self, endpoints: &[(A, u16)]) {
        let dp = &mut self.dp;
        let begin = dp.slots.len() as u32;
        let ids = dp.serve(id::LOCAL, A::vip(13), 80, Protocol::Tcp, endpoints);
        let own = *ids.last().expect("there is an endpoint");
        let local = SlotRange {
            offset: dp.slots.len() as u32,
            len: 60,
        };
        dp.slots.extend([own; 60]);
        let backend = dp.backends[&own].listed(list::CLUSTER | list::LOCAL);
        dp.backends.insert(own, backend);
        let cluster = SlotRange {
            offset: begin,
            len: local.offset - begin,
        };
        let flags = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
        let row = Frontend::new(id::LOCAL, cluster, local, 0, flags);
        dp.put_frontend(A::vip(13), 80, Protocol::Tcp, row);
    }

    /// Lets something happen to one backend, if there is one: it terminates, goes, or its id is given out again.
    pub fn change_a_backend(&mut self, random: &mut Random) {
        let mut ids: Vec<u32> = self.dp.backends.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        // A hash map has no order that is the same in the next run.
        ids.sort_unstable();
        let id = random.pick(&ids);
        let old = self.dp.backends[&id];
        let (endpoint, service) = (old.endpoint(), old.service_id());
        match random.below(3) {
            0 => {
                let state = BackendState::Terminating;
                let new = Backend::new(endpoint, state, old.epoch(), service);
                self.dp.backends.insert(id, new);
            }
            1 => {
                self.dp.backends.remove(&id);
            }
            _ => {
                let epoch = old.epoch().wrapping_add(1_000);
                let new = Backend::new(endpoint, BackendState::Active, epoch, service);
                self.dp.backends.insert(id, new.listed(list::CLUSTER));
            }
        }
    }
}

impl<A: Parse + Numbered + Hash> Default for Populated<A> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

/// Each address with each port.
fn ends<A: Copy>(addresses: &[A], ports: &[u16]) -> Vec<(A, u16)> {
    let pair = |address: &A| {
        let pair = |port: &u16| (*address, *port);
        ports.iter().map(pair).collect::<Vec<_>>()
    };
    addresses.iter().flat_map(pair).collect()
}
