//! What happens to the first packet, by what is known of its destination.

use super::*;
use crate::testing::strategies::{anything, holds, on_both_families};
use crate::testing::{Numbered, Part};

fn put<A: Family>(dp: &mut MemoryDataplane<A>, cluster: u32, local: u32, flags: u32) {
    let range = |len| SlotRange { offset: 0, len };
    let frontend = Frontend::new(SERVICE, range(cluster), range(local), 0, flags);
    dp.put_frontend(A::vip(10), 80, Protocol::Tcp, frontend);
}

#[track_caller]
fn check<A: Family>(dp: &MemoryDataplane<A>, frame: &Frame<A>, action: Action, reason: Reason) {
    let verdict = send(dp, frame);
    assert_eq!((verdict.action, verdict.reason), (action, reason));
}

on_both_families! {
    fn a_service_port_without_endpoints_is_refused_s30a<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 0);
        check(&dp, &segment(40_000, SYN), Action::Reject, Reason::NoEndpoint);
        check(&dp, &segment(40_000, ACK), Action::Reject, Reason::NoEndpoint);
        assert!(dp.flows.entries.borrow().is_empty());
    }

    fn a_service_port_without_endpoints_anywhere_is_refused_though_it_is_local_s30a<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 0);
        put(&mut dp, 0, 0, Frontend::LOCAL_ONLY);
        check(&dp, &segment(40_000, SYN), Action::Reject, Reason::NoEndpoint);
    }

    fn a_local_service_port_with_endpoints_elsewhere_only_drops_s30b<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        put(&mut dp, 60, 0, Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS);
        check(&dp, &segment(40_000, SYN), Action::Drop, Reason::NoLocalEndpoint);
    }

    fn a_local_service_port_selects_from_the_local_range_s23<A>() {
        let (mut dp, ids) = serving::<A>(Protocol::Tcp, 3);
        let offset = dp.slots.len() as u32;
        dp.slots.push(ids[1]);
        let range = |offset, len| SlotRange { offset, len };
        let flags = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
        let frontend = Frontend::new(SERVICE, range(0, offset), range(offset, 1), 0, flags);
        dp.put_frontend(A::vip(10), 80, Protocol::Tcp, frontend);
        for port in 40_000..40_100 {
            assert_eq!(forwarded(&dp, &segment(port, SYN)), (A::pod(2), Reason::NewFlow));
        }
    }

    fn an_unknown_port_of_a_vip_is_refused_s30c<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        check(&dp, &segment(40_000, SYN).with_destination(A::vip(10), 81), Action::Reject, Reason::UnknownPort);
        check(&dp, &datagram(40_000), Action::Reject, Reason::UnknownPort);
        check(&dp, &chunk(40_000, 1), Action::Reject, Reason::UnknownPort);
        check(&dp, &segment(40_000, SYN).with_destination(A::vip(10), 0), Action::Reject, Reason::UnknownPort);
    }

    fn what_goes_elsewhere_is_not_touched<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        holds(anything::<A>(), |frame| {
            check(&dp, &frame, Action::Pass, Reason::NotForService);
            let is_late = frame.ip.part.is_some_and(|part| part.offset > 0);
            for is_marked in [false, true] {
                let dp = MemoryDataplane::<A>::new();
                if is_marked {
                    dp.mark_backend(&frame.ip.source);
                }
                // In IPv6 it is behind an extension header that the packet is a fragment.
                let is_read = is_marked || A::OCTETS == 16;
                let verdict = receive(&dp, &frame);
                if is_read && is_late && Protocol::from_number(frame.l4.protocol()).is_some() {
                    // It waits for the first, as everything does that may be an answer.
                    assert_eq!((verdict.action, verdict.reason), (Action::Hold, Reason::FragmentHeld));
                } else {
                    assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::NotForService));
                }
            }
        });
        assert!(dp.flows.entries.borrow().is_empty());
    }

    fn an_address_that_shares_a_vips_bit_is_not_taken_for_it<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        dp.vip_filter.insert(crate::vip_filter::bit(&A::pod(9)));
        for l4 in [
            L4::tcp(40_000, 80, SYN),
            L4::udp(40_000, 80, b""),
            L4::sctp(40_000, 80, 1),
            L4::Other { protocol: 47, payload: vec![0; 12] },
        ] {
            check(&dp, &Frame::new(A::pod(100), A::pod(9), l4), Action::Pass, Reason::NotForService);
        }
    }

    fn protocols_that_are_not_balanced_pass_and_are_counted<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        for protocol in [1, 58, 47] {
            let l4 = L4::Other { protocol, payload: vec![0; 12] };
            check(&dp, &Frame::new(A::pod(100), A::vip(10), l4), Action::Pass, Reason::UnknownProtocol);
        }
    }

    fn an_atomic_fragment_is_balanced<A>() {
        let (dp, _) = serving::<A>(Protocol::Udp, 3);
        let mut frame = datagram(40_000);
        frame.ip.part = Some(Part { identification: 1, offset: 0, more: false });
        assert_eq!(forwarded(&dp, &frame).1, Reason::NewFlow);
    }

    fn a_malformed_packet_passes_and_is_counted<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let whole = segment::<A>(40_000, SYN).build();
        for len in 0..whole.len() {
            let mut octets = whole[..len].to_vec();
            let verdict = dp.send(&mut octets);
            assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::Malformed));
            assert_eq!(octets, whole[..len]);
        }
    }

    fn a_slot_that_was_never_written_is_passed_over<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 2);
        dp.slots.iter_mut().step_by(2).for_each(|id| *id = 0);
        for port in 40_000..40_100 {
            assert_eq!(forwarded(&dp, &segment(port, SYN)).1, Reason::NewFlow);
        }
    }

    fn a_slot_of_another_service_port_is_passed_over<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 2);
        let foreign = dp.serve(99, A::vip(11), 80, Protocol::Tcp, &[(A::pod(50), 80)]);
        dp.slots.iter_mut().step_by(2).for_each(|id| *id = foreign[0]);
        for port in 40_000..40_100 {
            assert_ne!(forwarded(&dp, &segment(port, SYN)).0, A::pod(50));
        }
    }

    fn slots_without_a_backend_drop<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 2);
        dp.slots.fill(0);
        check(&dp, &segment(40_000, SYN), Action::Drop, Reason::BackendMissing);
        dp.slots.fill(4711);
        check(&dp, &segment(40_000, SYN), Action::Drop, Reason::BackendMissing);
        dp.slots.clear();
        check(&dp, &segment(40_000, SYN), Action::Drop, Reason::BackendMissing);
        assert!(dp.flows.entries.borrow().is_empty());
    }
}

#[test]
fn each_family_knows_its_own_vips_only() {
    let (v4, _) = serving::<[u8; 4]>(Protocol::Tcp, 3);
    let (v6, _) = serving::<[u8; 16]>(Protocol::Tcp, 3);
    assert_eq!(forwarded(&v4, &segment(40_000, SYN)).1, Reason::NewFlow);
    assert_eq!(forwarded(&v6, &segment(40_000, SYN)).1, Reason::NewFlow);
    // The octets of one family's frame are nothing to the other.
    let mut octets = segment::<[u8; 16]>(40_001, SYN).build();
    assert_eq!(v4.send(&mut octets).reason, Reason::Malformed);
    let mut octets = segment::<[u8; 4]>(40_001, SYN).build();
    assert_eq!(v6.send(&mut octets).reason, Reason::Malformed);
    assert_ne!(<[u8; 4]>::vip(10).to_vec(), <[u8; 16]>::vip(10).to_vec());
}
