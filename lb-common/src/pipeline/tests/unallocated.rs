//! Addresses of a Service CIDR that no Service has (S-30 d).

use super::*;
use crate::pipeline::glance::Addresses;
use crate::service_cidr::ServiceCidrs;
use crate::testing::Part;
use crate::testing::strategies::on_both_families;
use crate::vip_filter;

/// A data plane that serves VIP 10, and whose Service CIDR has the VIPs up to 255.
fn with_cidr<A: Family>() -> MemoryDataplane<A> {
    let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
    dp.service_cidrs = ServiceCidrs::new([(A::vip(0), A::OCTETS as u32 * 8 - 8)]);
    dp
}

fn of_all_kinds<A: Family>(to: A) -> Vec<Frame<A>> {
    let frame = |l4| Frame::new(A::pod(100), to, l4);
    let part = |identification, offset, more| {
        let mut part = frame(L4::udp(40_000, 80, b"12345678"));
        part.ip.part = Some(Part {
            identification,
            offset,
            more,
        });
        part
    };
    vec![
        frame(L4::tcp(40_000, 80, SYN)),
        frame(L4::tcp(40_001, 80, ACK)),
        frame(L4::tcp(40_002, 80, RST)),
        frame(L4::udp(40_000, 80, b"question")),
        frame(L4::sctp(40_000, 80, 1)),
        frame(L4::Other {
            protocol: 200,
            payload: vec![0; 12],
        }),
        Frame::echo_request(A::pod(100), to, 1, b""),
        part(1, 0, true),
        part(1, 8, false),
        part(2, 8, false),
    ]
}

/// Whatever the filter says of the address: it is conservative.
#[track_caller]
fn check<A: Family>(mut dp: MemoryDataplane<A>, to: A, expected: (Action, Reason)) {
    for _ in ["clear", "set"] {
        for frame in of_all_kinds(to) {
            let verdict = send(&dp, &frame);
            let bit = dp.may_be_vip(&to);
            assert_eq!(
                (verdict.action, verdict.reason),
                expected,
                "{frame:?}, {bit}"
            );
        }
        assert!(dp.flows.entries.borrow().is_empty());
        dp.vip_filter.insert(vip_filter::bit(&to));
    }
}

on_both_families! {
    fn packets_to_it_are_dropped_s30d<A>() {
        check(with_cidr::<A>(), A::vip(11), (Action::Drop, Reason::Unallocated));
    }

    fn addresses_outside_pass<A>() {
        check(with_cidr::<A>(), A::pod(9), (Action::Pass, Reason::NotForService));
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        check(dp, A::vip(11), (Action::Pass, Reason::NotForService));
    }

    fn an_address_that_a_service_has_and_that_is_not_served_is_left_alone_s1<A>() {
        let mut dp = with_cidr::<A>();
        dp.unserved.insert(A::vip(12));
        check(dp, A::vip(12), (Action::Pass, Reason::NotForService));
    }

    fn a_vip_is_served_and_its_unknown_port_is_still_refused_s30c<A>() {
        let dp = with_cidr::<A>();
        let verdict = send(&dp, &segment(40_000, SYN).with_destination(A::vip(10), 81));
        assert_eq!((verdict.action, verdict.reason), (Action::Reject, Reason::UnknownPort));
        assert_eq!(forwarded(&dp, &segment(40_000, SYN)).1, Reason::NewFlow);
    }

    fn an_established_connection_outlives_its_service_and_a_udp_flow_does_not_s50_s51<A>() {
        let mut dp = with_cidr::<A>();
        dp.serve(SERVICE + 1, A::vip(10), 80, Protocol::Udp, &endpoints(1));
        answered(&dp, &segment(40_000, SYN), SYN | ACK);
        forwarded(&dp, &datagram(40_000));
        dp.frontends.clear();
        dp.backends.clear();
        assert_eq!(forwarded(&dp, &segment(40_000, ACK)).1, Reason::Forward);
        let verdict = send(&dp, &datagram(40_000));
        assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::Unallocated));
    }

    fn the_rest_of_a_datagram_follows_its_first_fragment_s33<A>() {
        let mut dp = with_cidr::<A>();
        dp.vip_filter.insert(vip_filter::bit(&A::vip(11)));
        let frames = of_all_kinds(A::vip(11));
        let [.., first, rest, _] = &frames[..] else { panic!("fragments") };
        assert_eq!(send(&dp, first).action, Action::Drop);
        dp.unserved.insert(A::vip(11));
        // The Service has come between the two: what is left of the datagram is of no use.
        assert_eq!(send(&dp, rest).action, Action::Pass);
    }

    fn an_icmp_error_about_no_flow_goes_the_same_way_and_one_about_a_flow_is_translated_s32<A>() {
        let mut dp = with_cidr::<A>();
        let kind = if A::OCTETS == 4 { [3, 3] } else { [1, 4] };
        let about = Frame::new(A::vip(11), A::pod(100), L4::udp(53, 40_000, b""));
        for _ in ["clear", "set"] {
            let verdict = dp.send(&mut about.icmp_error(A::pod(100), kind, 200).build());
            assert_eq!((verdict.action, verdict.reason), (Action::Drop, Reason::Unallocated));
            dp.vip_filter.insert(vip_filter::bit(&A::vip(11)));
        }
        answered(&dp, &segment(40_000, SYN), SYN | ACK);
        dp.frontends.clear();
        let about = Frame::new(A::vip(10), A::pod(100), L4::tcp(80, 40_000, ACK));
        let verdict = dp.send(&mut about.icmp_error(A::pod(100), kind, 200).build());
        assert_eq!((verdict.action, verdict.reason), (Action::Pass, Reason::IcmpError));
    }
}
