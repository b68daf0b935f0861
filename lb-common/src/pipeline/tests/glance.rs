//! What the addresses alone decide.

use super::*;
use crate::packet::{self, ETHERNET};
use crate::pipeline::glance::{self, Addresses, Sight};
use crate::service_cidr::ServiceCidrs;
use crate::testing::strategies::on_both_families;

/// Every part of a segment that ends behind its IP header, and the whole with each octet of the transport header inverted.
fn spoiled<A: Family>(to: A) -> Vec<Vec<u8>> {
    let whole = Frame::new(A::pod(100), to, L4::tcp(40_000, 80, SYN)).build();
    let header = ETHERNET + A::HEADER;
    let cut = (header..whole.len()).map(|len| whole[..len].to_vec());
    let wrong = (header..whole.len()).map(|at| {
        let mut octets = whole.clone();
        octets[at] ^= 0xff;
        octets
    });
    cut.chain(wrong).collect()
}

on_both_families! {
    fn of_a_packet_for_no_service_nothing_else_is_read<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        dp.service_cidrs = ServiceCidrs::new([(A::vip(0), A::OCTETS as u32 * 8 - 8)]);
        for (to, expected) in [
            (A::pod(9), (Action::Pass, Reason::NotForService)),
            (A::vip(11), (Action::Drop, Reason::Unallocated)),
        ] {
            for octets in spoiled(to) {
                let mut sent = octets.clone();
                let verdict = dp.send(&mut sent);
                assert_eq!((verdict.action, verdict.reason), expected, "{octets:02x?}");
                assert_eq!(sent, octets);
            }
        }
    }

    fn without_the_whole_fixed_header_there_are_no_addresses<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let whole = Frame::new(A::pod(100), A::pod(9), L4::tcp(40_000, 80, SYN)).build();
        for len in 0..ETHERNET + A::HEADER {
            let verdict = dp.send(&mut whole[..len].to_vec());
            assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::Malformed), "{len}");
        }
    }

    fn of_a_packet_from_no_backend_nothing_else_is_read<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        forwarded(&dp, &segment(40_000, SYN));
        for octets in spoiled(A::pod(9)) {
            let mut received = octets.clone();
            let verdict = dp.receive(&mut received);
            assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::NotForService));
            assert_eq!(received, octets);
        }
    }

    fn what_was_read_is_taken_for_an_answer_as_at_first_sight<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        forwarded(&dp, &segment(40_000, SYN));
        let mut seen = [0; 2];
        for from in [A::pod(1), A::pod(9)] {
            for l4 in [
                L4::tcp(40_000, 80, SYN),
                L4::udp(40_000, 53, b"odd"),
                L4::Other { protocol: 47, payload: b"odd".to_vec() },
            ] {
                let octets = Frame::new(from, A::pod(100), l4).build();
                let packet = packet::parse::<A>(&*octets, ETHERNET).unwrap();
                let first = glance::to_workload(&dp, &*octets, ETHERNET) == Sight::Service;
                assert_eq!(glance::may_be_answer(&dp, &packet), first, "{packet:?}");
                seen[usize::from(first)] += 1;
            }
        }
        assert_eq!(seen, [2, 4]);
    }

    fn a_backend_is_marked_before_its_flow_is_known_and_stays_so<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 1);
        assert!(!dp.may_be_backend(&A::pod(1)));
        forwarded(&dp, &segment(40_000, SYN));
        assert!(dp.may_be_backend(&A::pod(1)));
        assert!(!dp.may_be_backend(&A::pod(2)));
        // S-50: the flow goes on, so the mark must.
        dp.serve(SERVICE, A::vip(10), 80, Protocol::Tcp, &endpoints::<A>(2)[1..]);
        assert!(dp.may_be_backend(&A::pod(1)));
    }

    fn both_ends_of_a_pod_that_reaches_itself_are_marked_s42<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        let own = Frame::new(A::pod(1), A::vip(10), L4::tcp(40_000, 80, SYN));
        forwarded(&dp, &own);
        for flow in dp.flows.entries.borrow().values() {
            assert!(dp.may_be_backend(&flow.backend().address), "{flow:?}");
        }
    }
}
