//! What packets cost in operations on maps: exactly, so that neither more nor fewer go unseen.

use super::*;
use crate::service_cidr::ServiceCidrs;
use crate::testing::Operations;
use crate::testing::strategies::on_both_families;

/// A data plane that serves VIP 10, with a Service CIDR as a cluster has one.
fn usual<A: Family>(protocol: Protocol) -> MemoryDataplane<A> {
    let (mut dp, _) = serving::<A>(protocol, 3);
    dp.service_cidrs = ServiceCidrs::new([(A::vip(0), A::OCTETS as u32 * 8 - 8)]);
    dp
}

/// A connection in use, and an answer of its backend.
fn established<A: Family>() -> (MemoryDataplane<A>, Frame<A>) {
    let dp = usual(Protocol::Tcp);
    let backend = answered(&dp, &segment(40_000, SYN), SYN | ACK);
    forwarded(&dp, &segment(40_000, ACK));
    let asked = segment(40_000, ACK).with_destination(backend, 8080);
    (dp, asked.reversed())
}

/// What a new flow costs: its own entry and the tuple at its backend are looked for; frontend, slot and backend.
const NEW_FLOW: Operations = Operations {
    // The VIP's bit, the slot, the backend and its mark.
    loads: 4,
    lookups: 1,
    finds: 2,
    flows_written: 1,
    rows_written: 0,
};

on_both_families! {
    fn an_established_connection_costs_a_filter_and_a_flow_either_way<A>() {
        let (dp, answer) = established::<A>();
        let expected = Operations { loads: 1, finds: 1, ..Operations::default() };
        assert_eq!(dp.operations_to_send(&segment::<A>(40_000, ACK).build()), expected);
        assert_eq!(dp.operations_to_receive(&answer.build()), expected);
        // Once a second its stamp is renewed, for which the whole flow is looked for.
        dp.advance(1);
        let stamped = Operations { finds: 2, flows_written: 1, ..expected };
        assert_eq!(dp.operations_to_send(&segment::<A>(40_000, ACK).build()), stamped);
        assert_eq!(dp.operations_to_receive(&answer.build()), expected);
    }

    fn what_is_for_no_service_costs_loads_alone<A>() {
        let (dp, _) = established::<A>();
        let direct = Frame::new(A::pod(100), A::pod(9), L4::tcp(40_000, 80, ACK));
        let loads = |loads| Operations { loads, ..Operations::default() };
        assert_eq!(dp.operations_to_send(&direct.build()), loads(2));
        assert_eq!(dp.operations_to_receive(&direct.reversed().build()), loads(1));
    }

    fn what_comes_from_a_backend_and_answers_nobody_costs_a_flow<A>() {
        let (dp, answer) = established::<A>();
        let other = answer.with_destination(A::pod(101), 40_000);
        let expected = Operations { loads: 1, finds: 1, ..Operations::default() };
        assert_eq!(dp.operations_to_receive(&other.build()), expected);
    }

    fn a_new_flow_costs_its_selection<A>() {
        let dp = usual::<A>(Protocol::Tcp);
        assert_eq!(dp.operations_to_send(&segment::<A>(40_000, SYN).build()), NEW_FLOW);
        let dp = usual::<A>(Protocol::Udp);
        assert_eq!(dp.operations_to_send(&datagram::<A>(40_000).build()), NEW_FLOW);
        // A known datagram's flow asks for its backend, which may have gone (S-51).
        let expected = Operations { loads: 2, finds: 1, ..Operations::default() };
        assert_eq!(dp.operations_to_send(&datagram::<A>(40_000).build()), expected);
    }

    fn affinity_costs_a_lookup_and_a_row_where_it_is_asked_for<A>() {
        let mut dp = usual::<A>(Protocol::Tcp);
        dp.set_affinity_seconds(SERVICE, 60);
        let first = Operations { lookups: NEW_FLOW.lookups + 1, rows_written: 1, ..NEW_FLOW };
        assert_eq!(dp.operations_to_send(&segment::<A>(40_000, SYN).build()), first);
        // The client's backend is in the place of a slot.
        let next = Operations { loads: NEW_FLOW.loads - 1, ..first };
        assert_eq!(dp.operations_to_send(&segment::<A>(40_002, SYN).build()), next);
    }

    fn a_port_that_is_refused_costs_two_lookups<A>() {
        let dp = usual::<A>(Protocol::Tcp);
        let to = segment::<A>(40_000, SYN).with_destination(A::vip(10), 81);
        let expected = Operations { loads: 1, lookups: 2, finds: 1, ..Operations::default() };
        assert_eq!(dp.operations_to_send(&to.build()), expected);
    }
}
