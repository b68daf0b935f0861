//! The data plane over hash maps: the same decisions, without a kernel.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::addr::{Address, Endpoint, Port, Protocol};
use crate::affinity::{Affinity, AffinityKey};
use crate::backend::{Backend, BackendState, list};
use crate::conntrack::{
    ConntrackKey, Direction, Flow, FlowState, FlowTable, Peek, Peeked, TableFull,
};
use crate::fragments::{Fragments, FragmentsKey, HELD_OCTETS, HeldKey};
use crate::frontend::{Frontend, FrontendKey, SlotRange};
use crate::packet::{self, Parse};
use crate::pipeline::glance::{self, Addresses, Sight};
use crate::pipeline::{
    self, Action, Dataplane, Room, Verdict, express, from_workload, related, to_workload,
};
use crate::reason::Reason;
use crate::service_cidr::ServiceCidrs;
use crate::token_bucket::{ECHO_REPLIES, TokenBucket};
use crate::{maglev, reply_filter, rewrite, vip_filter};

/// A data plane in memory.
pub struct MemoryDataplane<A> {
    /// Bits that are set.
    pub vip_filter: HashSet<u32>,
    /// Marks of backends.
    pub reply_filter: RefCell<HashSet<u32>>,
    /// Frontends.
    pub frontends: HashMap<FrontendKey<A>, Frontend>,
    /// Service CIDRs.
    pub service_cidrs: ServiceCidrs<A>,
    /// Addresses that a Service has and that are not served.
    pub unserved: HashSet<A>,
    /// Slots.
    pub slots: Vec<u32>,
    /// Backends.
    pub backends: HashMap<u32, Backend<A>>,
    /// Clients' backends.
    pub affinity: RefCell<HashMap<AffinityKey<A>, Affinity>>,
    /// Flows.
    pub flows: MemoryFlows<A>,
    /// What is known of datagrams in fragments.
    pub fragments: RefCell<HashMap<FragmentsKey<A>, Fragments<A>>>,
    /// What pings of VIPs are answered from.
    pub echo_tokens: Cell<TokenBucket>,
    /// Fragments that came before the first of their datagram.
    pub held: RefCell<HashMap<HeldKey<A>, Vec<u8>>>,
    /// Frames that were put back to where they came from, since somebody last took them from here.
    pub put_back: RefCell<Vec<Vec<u8>>>,
    /// The clock, in ticks.
    pub now: Cell<u32>,
    /// Ticks of the clock in a second.
    pub ticks_per_second: u32,
    next_id: u32,
}

/// Flows by their keys.
type Entries<A> = HashMap<ConntrackKey<A>, Flow<A>>;

/// Flows over a hash map, with room for a number of entries.
pub struct MemoryFlows<A> {
    /// The entries, two for each flow.
    pub entries: RefCell<Entries<A>>,
    /// Room for this many entries.
    pub capacity: usize,
}

impl<A: Address + Hash> MemoryFlows<A> {
    /// A row that half a flow consists of: the other side's is not there or says something else, or it is none of its flow's own
    /// two. None must ever be left.
    pub fn half(&self) -> Option<(ConntrackKey<A>, Flow<A>)> {
        let entries = self.entries.borrow();
        let mut halves = entries.iter().filter(|(key, flow)| {
            let own = [flow.from_client(), flow.from_backend()];
            !own.contains(key) || own.iter().any(|side| entries.get(side) != Some(*flow))
        });
        halves.next().map(|(key, flow)| (*key, *flow))
    }
}

impl<A: Address + Hash> FlowTable<A> for MemoryFlows<A> {
    fn find(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool {
        let entries = self.entries.borrow();
        let found = entries.get(key);
        if let Some(flow) = found {
            *into = *flow;
        }
        found.is_some()
    }

    fn find_ports(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool {
        let entries = self.entries.borrow();
        let found = entries.get(key);
        if let Some(flow) = found {
            into.take_ports(flow);
        }
        found.is_some()
    }

    fn peek(&self, key: &ConntrackKey<A>, into: &mut Peek<A>) -> Peeked {
        match self.entries.borrow().get(key) {
            Some(flow) if flow.has_other_source_port() => Peeked::Unsaid,
            Some(flow) => {
                *into = Peek::of(flow, key.direction());
                Peeked::Known
            }
            None => Peeked::Unknown,
        }
    }

    fn insert(&self, flow: &Flow<A>) -> Result<(), TableFull> {
        if self.entries.borrow().len() + 2 > self.capacity {
            return Err(TableFull);
        }
        self.update(flow, flow.state());
        Ok(())
    }

    /// One map is both tables: a flow's state says in which of them it is.
    fn update(&self, flow: &Flow<A>, _: FlowState) {
        let mut entries = self.entries.borrow_mut();
        entries.insert(flow.from_client(), *flow);
        entries.insert(flow.from_backend(), *flow);
    }

    fn remove(&self, flow: &Flow<A>) {
        let mut entries = self.entries.borrow_mut();
        entries.remove(&flow.from_client());
        entries.remove(&flow.from_backend());
    }
}

impl<A: Parse + Hash> Addresses for MemoryDataplane<A> {
    type Address = A;

    fn may_be_vip(&self, address: &A) -> bool {
        self.vip_filter.contains(&vip_filter::bit(address))
    }

    fn is_in_service_cidr(&self, address: &A) -> bool {
        self.service_cidrs.contain(address)
    }

    fn is_unserved(&self, address: &A) -> bool {
        self.unserved.contains(address)
    }

    fn may_be_backend(&self, address: &A) -> bool {
        self.reply_filter
            .borrow()
            .contains(&reply_filter::mark(address))
    }
}

impl<A: Parse + Hash> Dataplane for MemoryDataplane<A> {
    type Flows = MemoryFlows<A>;

    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend> {
        self.frontends.get(key).copied()
    }

    fn slot(&self, index: u32) -> Option<u32> {
        self.slots.get(index as usize).copied()
    }

    fn backend(&self, id: u32) -> Option<Backend<A>> {
        self.backends.get(&id).copied()
    }

    fn affinity(&self, key: &AffinityKey<A>) -> Option<Affinity> {
        self.affinity.borrow().get(key).copied()
    }

    fn set_affinity(&self, key: &AffinityKey<A>, affinity: &Affinity) {
        self.affinity.borrow_mut().insert(*key, *affinity);
    }

    fn mark_backend(&self, address: &A) {
        self.reply_filter
            .borrow_mut()
            .insert(reply_filter::mark(address));
    }

    fn flows(&self) -> &Self::Flows {
        &self.flows
    }

    fn fragments(&self, key: &FragmentsKey<A>, into: &mut Fragments<A>) -> bool {
        let records = self.fragments.borrow();
        let found = records.get(key);
        if let Some(record) = found {
            *into = *record;
        }
        found.is_some()
    }

    fn remember_fragments(&self, key: &FragmentsKey<A>, fragments: &Fragments<A>) {
        self.fragments.borrow_mut().insert(*key, *fragments);
    }

    fn take_echo_token(&self) -> bool {
        let mut bucket = self.echo_tokens.get();
        let taken = bucket.take(ECHO_REPLIES, self.now(), self.ticks_per_second());
        self.echo_tokens.set(bucket);
        taken
    }

    fn now(&self) -> u32 {
        self.now.get()
    }

    fn ticks_per_second(&self) -> u32 {
        self.ticks_per_second
    }

    fn secret(&self) -> u64 {
        0x0123_4567_89ab_cdef
    }
}

impl<A: Parse + Hash> MemoryDataplane<A> {
    /// Nothing known, room for 1 000 flows.
    pub fn new() -> Self {
        Self {
            vip_filter: HashSet::new(),
            reply_filter: RefCell::default(),
            frontends: HashMap::new(),
            service_cidrs: ServiceCidrs::none(),
            unserved: HashSet::new(),
            slots: Vec::new(),
            backends: HashMap::new(),
            affinity: RefCell::default(),
            flows: MemoryFlows {
                entries: RefCell::default(),
                capacity: 2_000,
            },
            fragments: RefCell::default(),
            echo_tokens: Cell::default(),
            held: RefCell::default(),
            put_back: RefCell::default(),
            // Close to the wrap of the clock, so that every test crosses it or comes near.
            now: Cell::new(u32::MAX - 100),
            ticks_per_second: 250,
            next_id: 0,
        }
    }

    /// Lets time pass.
    pub fn advance(&self, seconds: u32) {
        self.now
            .set(self.now.get().wrapping_add(seconds * self.ticks_per_second));
    }

    /// Adds or replaces a service port with these endpoints, all of them active, and returns the backends' ids. What the
    /// service port had before is forgotten, as it is when all its endpoints are replaced.
    pub fn serve(
        &mut self,
        service_id: u32,
        vip: A,
        port: u16,
        protocol: Protocol,
        endpoints: &[(A, u16)],
    ) -> Vec<u32> {
        self.backends.retain(|_, b| b.service_id() != service_id);
        let mut ids = Vec::new();
        for (address, port) in endpoints {
            self.next_id += 1;
            let endpoint = Endpoint {
                address: *address,
                port: Port::new(*port),
            };
            let backend = Backend::new(endpoint, BackendState::Active, self.next_id, service_id);
            self.backends
                .insert(self.next_id, backend.listed(list::CLUSTER));
            ids.push(self.next_id);
        }
        let seeds: Vec<u64> = ids.iter().map(|id| u64::from(*id)).collect();
        let offset = self.slots.len() as u32;
        self.slots
            .extend(maglev::table(&seeds).iter().map(|i| ids[*i as usize]));
        let range = SlotRange {
            offset,
            len: self.slots.len() as u32 - offset,
        };
        let flags = if ids.is_empty() {
            0
        } else {
            Frontend::HAS_ENDPOINTS
        };
        self.put_frontend(
            vip,
            port,
            protocol,
            Frontend::new(service_id, range, SlotRange::default(), 0, flags),
        );
        ids
    }

    /// Adds or replaces a frontend, and the row of its address.
    pub fn put_frontend(&mut self, vip: A, port: u16, protocol: Protocol, frontend: Frontend) {
        self.vip_filter.insert(vip_filter::bit(&vip));
        self.frontends
            .insert(FrontendKey::new(vip, Port::new(port), protocol), frontend);
        let has_endpoints = self.frontends.iter().any(|(key, row)| {
            key.address() == vip
                && !key.is_address_row()
                && row.flags() & Frontend::HAS_ENDPOINTS != 0
        });
        self.frontends.insert(
            FrontendKey::address_row(vip),
            Frontend::address_row(has_endpoints),
        );
    }

    /// Sets for how many seconds a client stays with its backend of a service port; 0 ends session affinity.
    pub fn set_affinity_seconds(&mut self, service_id: u32, seconds: u32) {
        let rows = self.frontends.values_mut();
        for row in rows.filter(|row| row.service_id() == service_id) {
            *row = Frontend::new(service_id, row.cluster(), row.local(), seconds, row.flags());
        }
    }

    /// What happens to a frame that leaves a pod; the frame is changed as the verdict says.
    pub fn send(&self, frame: &mut [u8]) -> Verdict<A> {
        let sight = glance::from_workload(self, &*frame, packet::ETHERNET);
        if let Some(verdict) = at_sight(sight) {
            return verdict;
        }
        let express = self.express(frame, express::from_workload);
        let verdict = self.process(frame, Direction::FromClient, from_workload);
        self.check(express, verdict)
    }

    /// What happens to a frame that reaches a pod; the frame is changed as the verdict says.
    pub fn receive(&self, frame: &mut [u8]) -> Verdict<A> {
        let sight = glance::to_workload(self, &*frame, packet::ETHERNET);
        if let Some(verdict) = at_sight(sight) {
            return verdict;
        }
        let express = self.express(frame, express::to_workload);
        let verdict = self.process(frame, Direction::FromBackend, to_workload);
        self.check(express, verdict)
    }

    /// What is decided on the frame as the plain segment that it may be, and the flows, none of which changes by it.
    fn express(
        &self,
        frame: &[u8],
        decide: impl Fn(&Self, &packet::Packet<A>) -> Option<Verdict<A>>,
    ) -> Option<(Verdict<A>, Entries<A>)> {
        let packet = packet::plain_tcp::<A>(frame, packet::ETHERNET)?;
        let verdict = decide(self, &packet)?;
        Some((verdict, self.flows.entries.borrow().clone()))
    }

    /// Compares with what was decided on the frame as any other.
    fn check(&self, express: Option<(Verdict<A>, Entries<A>)>, verdict: Verdict<A>) -> Verdict<A> {
        if let Some((express, flows)) = express {
            let (said, says) = (express.reason, verdict.reason);
            assert!(verdict == express, "{said:?} of a plain segment, {says:?}");
            assert!(
                flows == *self.flows.entries.borrow(),
                "{said:?} of a plain segment, and flows change"
            );
        }
        verdict
    }

    fn process(
        &self,
        frame: &mut [u8],
        direction: Direction,
        decide: impl Fn(&Self, &packet::Packet<A>, &mut Room<A>) -> Verdict<A>,
    ) -> Verdict<A> {
        let packet = match packet::parse::<A>(&*frame, packet::ETHERNET) {
            Ok(packet) => packet,
            Err(packet::Malformed) => return Verdict::pass(Reason::Malformed),
        };
        let room = &mut Room::new();
        let mut verdict = decide(self, &packet, room);
        match verdict.action {
            Action::Rewrite => rewrite::apply(frame, &packet, &verdict.rewrite),
            Action::Relate => {
                verdict.action = Action::Pass;
                if self.relate(frame, direction, &packet, room) {
                    verdict.reason = Reason::IcmpError;
                } else if verdict.reason == Reason::Unallocated {
                    verdict.action = Action::Drop;
                }
            }
            Action::Echo => {
                packet::echo::reply(frame, &packet).expect("what was read is there");
            }
            Action::Hold => self.hold(frame, direction, &mut verdict, room),
            Action::Pass | Action::Reject | Action::Drop => {}
        }
        self.put_back(frame, room);
        verdict
    }

    fn hold(&self, frame: &[u8], direction: Direction, verdict: &mut Verdict<A>, room: &Room<A>) {
        if frame.len() <= HELD_OCTETS {
            let mut held = self.held.borrow_mut();
            held.insert(*room.held_key(), frame.to_vec());
        } else {
            *verdict = match pipeline::not_held(direction) {
                reason @ Reason::NotForService => Verdict::pass(reason),
                reason => Verdict::drop(reason),
            };
        }
    }

    /// Puts a first fragment and those that came before it back to where they came from.
    fn put_back(&self, frame: &[u8], room: &mut Room<A>) {
        if room.held() == 0 {
            return;
        }
        let mut put_back = self.put_back.borrow_mut();
        put_back.push(frame.to_vec());
        let held = room.held();
        let key = room.first_held();
        for number in 0..held {
            key.set_number(number as u16);
            put_back.extend(self.held.borrow_mut().remove(key));
        }
    }

    fn relate(
        &self,
        frame: &mut [u8],
        direction: Direction,
        error: &packet::Packet<A>,
        room: &mut Room<A>,
    ) -> bool {
        let Some(quoted) = packet::icmp::quoted(frame, error) else {
            return false;
        };
        match related(self, direction, error, &quoted, room) {
            Some(related) => {
                rewrite::relate(frame, error, &quoted, &related).expect("what was read is there");
                true
            }
            None => false,
        }
    }
}

impl<A: Parse + Hash> Default for MemoryDataplane<A> {
    fn default() -> Self {
        Self::new()
    }
}

/// What becomes of a packet at first sight, or nothing where it is to be read.
fn at_sight<A: Address>(sight: Sight) -> Option<Verdict<A>> {
    match sight {
        Sight::Service => None,
        Sight::Malformed => Some(Verdict::pass(Reason::Malformed)),
        Sight::Other => Some(Verdict::pass(Reason::NotForService)),
        Sight::Nobody => Some(Verdict::drop(Reason::Unallocated)),
    }
}
