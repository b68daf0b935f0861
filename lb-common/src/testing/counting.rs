//! A data plane that counts what is asked of it: what a packet costs in operations on maps, which no other load on the machine
//! changes.

use std::cell::Cell;
use std::hash::Hash;

use super::memory::MemoryDataplane;
use crate::affinity::{Affinity, AffinityKey};
use crate::backend::Backend;
use crate::conntrack::{ConntrackKey, Flow, FlowState, FlowTable, Peek, Peeked, TableFull};
use crate::fragments::{Fragments, FragmentsKey};
use crate::frontend::{Frontend, FrontendKey};
use crate::packet::{ETHERNET, Packet, Parse, parse, plain_tcp};
use crate::pipeline::glance::{self, Addresses, Sight};
use crate::pipeline::{self, Dataplane, Room, Verdict, express};

/// How often a packet asked for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Operations {
    /// Loads from arrays: the filters, the Service CIDRs, slots, backends.
    pub loads: u32,
    /// Lookups of frontends, of clients' backends, of fragments and of addresses that are not served.
    pub lookups: u32,
    /// Flows that were looked for.
    pub finds: u32,
    /// Flows that were stored, renewed or removed.
    pub flows_written: u32,
    /// Other rows that were written.
    pub rows_written: u32,
}

/// A data plane in memory that counts.
struct Counting<'a, A: Parse + Hash> {
    dp: &'a MemoryDataplane<A>,
    operations: Cell<Operations>,
}

impl<A: Parse + Hash> Counting<'_, A> {
    fn count(&self, change: impl Fn(&mut Operations)) {
        let mut operations = self.operations.get();
        change(&mut operations);
        self.operations.set(operations);
    }
}

impl<A: Parse + Hash> MemoryDataplane<A> {
    /// What a frame that leaves a pod costs. The frame stays as it is; what is learnt of it is learnt.
    pub fn operations_to_send(&self, frame: &[u8]) -> Operations {
        self.operations(
            frame,
            glance::from_workload,
            express::from_workload,
            pipeline::from_workload,
        )
    }

    /// What a frame that reaches a pod costs, as above.
    pub fn operations_to_receive(&self, frame: &[u8]) -> Operations {
        self.operations(
            frame,
            glance::to_workload,
            express::to_workload,
            pipeline::to_workload,
        )
    }

    fn operations<'a>(
        &'a self,
        frame: &[u8],
        glance: impl Fn(&Counting<'a, A>, &[u8], usize) -> Sight,
        express: impl Fn(&Counting<'a, A>, &Packet<A>) -> Option<Verdict<A>>,
        decide: impl Fn(&Counting<'a, A>, &Packet<A>, &mut Room<A>) -> Verdict<A>,
    ) -> Operations {
        let counting = Counting {
            dp: self,
            operations: Cell::default(),
        };
        let is_express = |packet| express(&counting, &packet).is_some();
        if glance(&counting, frame, ETHERNET) == Sight::Service
            && !plain_tcp(frame, ETHERNET).is_some_and(is_express)
            && let Ok(packet) = parse(frame, ETHERNET)
        {
            decide(&counting, &packet, &mut Room::new());
        }
        counting.operations.get()
    }
}

impl<A: Parse + Hash> Addresses for Counting<'_, A> {
    type Address = A;

    fn may_be_vip(&self, address: &A) -> bool {
        self.count(|operations| operations.loads += 1);
        self.dp.may_be_vip(address)
    }

    fn is_in_service_cidr(&self, address: &A) -> bool {
        self.count(|operations| operations.loads += 1);
        self.dp.is_in_service_cidr(address)
    }

    fn is_unserved(&self, address: &A) -> bool {
        self.count(|operations| operations.lookups += 1);
        self.dp.is_unserved(address)
    }

    fn may_be_backend(&self, address: &A) -> bool {
        self.count(|operations| operations.loads += 1);
        self.dp.may_be_backend(address)
    }
}

impl<A: Parse + Hash> Dataplane for Counting<'_, A> {
    type Flows = Self;

    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend> {
        self.count(|operations| operations.lookups += 1);
        self.dp.frontend(key)
    }

    fn slot(&self, index: u32) -> Option<u32> {
        self.count(|operations| operations.loads += 1);
        self.dp.slot(index)
    }

    fn backend(&self, id: u32) -> Option<Backend<A>> {
        self.count(|operations| operations.loads += 1);
        self.dp.backend(id)
    }

    fn mark_backend(&self, address: &A) {
        self.count(|operations| operations.loads += 1);
        self.dp.mark_backend(address);
    }

    fn flows(&self) -> &Self {
        self
    }

    fn fragments(&self, key: &FragmentsKey<A>, into: &mut Fragments<A>) -> bool {
        self.count(|operations| operations.lookups += 1);
        self.dp.fragments(key, into)
    }

    fn remember_fragments(&self, key: &FragmentsKey<A>, fragments: &Fragments<A>) {
        self.count(|operations| operations.rows_written += 1);
        self.dp.remember_fragments(key, fragments);
    }

    fn affinity(&self, key: &AffinityKey<A>) -> Option<Affinity> {
        self.count(|operations| operations.lookups += 1);
        Dataplane::affinity(self.dp, key)
    }

    fn set_affinity(&self, key: &AffinityKey<A>, affinity: &Affinity) {
        self.count(|operations| operations.rows_written += 1);
        self.dp.set_affinity(key, affinity);
    }

    fn take_echo_token(&self) -> bool {
        self.count(|operations| operations.loads += 1);
        self.dp.take_echo_token()
    }

    fn now(&self) -> u32 {
        Dataplane::now(self.dp)
    }

    fn ticks_per_second(&self) -> u32 {
        Dataplane::ticks_per_second(self.dp)
    }

    fn secret(&self) -> u64 {
        self.dp.secret()
    }
}

impl<A: Parse + Hash> FlowTable<A> for Counting<'_, A> {
    fn find(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool {
        self.count(|operations| operations.finds += 1);
        self.dp.flows.find(key, into)
    }

    fn peek(&self, key: &ConntrackKey<A>, into: &mut Peek<A>) -> Peeked {
        self.count(|operations| operations.finds += 1);
        self.dp.flows.peek(key, into)
    }

    fn find_ports(&self, key: &ConntrackKey<A>, into: &mut Flow<A>) -> bool {
        self.count(|operations| operations.finds += 1);
        self.dp.flows.find_ports(key, into)
    }

    fn insert(&self, flow: &Flow<A>) -> Result<(), TableFull> {
        self.count(|operations| operations.flows_written += 1);
        self.dp.flows.insert(flow)
    }

    fn update(&self, flow: &Flow<A>, before: FlowState) {
        self.count(|operations| operations.flows_written += 1);
        self.dp.flows.update(flow, before);
    }

    fn remove(&self, flow: &Flow<A>) {
        self.count(|operations| operations.flows_written += 1);
        self.dp.flows.remove(flow);
    }
}
