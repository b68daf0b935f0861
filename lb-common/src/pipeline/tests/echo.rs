//! Pings of VIPs (S-31).

use super::*;
use crate::testing::Part;
use crate::testing::strategies::on_both_families;
use crate::token_bucket::ECHO_REPLIES;

fn ping<A: Family>(destination: A) -> Frame<A> {
    Frame::echo_request(A::pod(100), destination, 0x1234_0001, b"are you there")
}

/// What becomes of a ping, and the frame that comes out where it is answered.
#[track_caller]
fn pinged<A: Family>(dp: &MemoryDataplane<A>, ping: &Frame<A>) -> (Action, Reason) {
    let mut octets = ping.build();
    let verdict = dp.send(&mut octets);
    let expected = match verdict.action {
        Action::Echo => ping.echo_reply(),
        _ => ping.build(),
    };
    assert_eq!(octets, expected, "{verdict:?}");
    (verdict.action, verdict.reason)
}

on_both_families! {
    fn a_ping_is_answered_while_a_port_has_an_endpoint_s31<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        assert_eq!(pinged(&dp, &ping(A::vip(10))), (Action::Echo, Reason::Echo));
        // The second port has none, the first one still has.
        dp.serve(8, A::vip(10), 53, Protocol::Udp, &[]);
        assert_eq!(pinged(&dp, &ping(A::vip(10))), (Action::Echo, Reason::Echo));
        dp.serve(SERVICE, A::vip(10), 80, Protocol::Tcp, &[]);
        assert_eq!(pinged(&dp, &ping(A::vip(10))), (Action::Reject, Reason::NoEndpoint));
        assert!(dp.flows.entries.borrow().is_empty());
    }

    fn a_vip_whose_endpoints_are_on_other_nodes_answers_s31<A>() {
        let mut dp = MemoryDataplane::<A>::new();
        let none = SlotRange::default();
        let flags = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
        dp.put_frontend(A::vip(10), 80, Protocol::Tcp, Frontend::new(SERVICE, none, none, 0, flags));
        assert_eq!(pinged(&dp, &ping(A::vip(10))), (Action::Echo, Reason::Echo));
    }

    fn a_ping_of_anything_else_passes<A>() {
        let (mut dp, _) = serving::<A>(Protocol::Tcp, 3);
        dp.vip_filter.insert(crate::vip_filter::bit(&A::pod(9)));
        for elsewhere in [A::pod(8), A::pod(9), A::vip(11)] {
            assert_eq!(pinged(&dp, &ping(elsewhere)), (Action::Pass, Reason::NotForService));
        }
        // Towards a pod, nobody's VIP counts.
        let request = Frame::echo_request(A::pod(3), A::pod(100), 1, b"");
        assert_eq!(receive(&dp, &request).reason, Reason::NotForService);
    }

    fn a_ping_in_fragments_is_not_answered<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let mut part = ping(A::vip(10));
        for (offset, more) in [(0, true), (8, true), (16, false)] {
            part.ip.part = Some(Part { identification: 1, offset, more });
            assert_eq!(pinged(&dp, &part), (Action::Pass, Reason::UnknownProtocol));
        }
    }

    fn answers_are_limited_and_counted_s31<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 3);
        let answered = || {
            (0..2 * ECHO_REPLIES)
                .filter(|_| match pinged(&dp, &ping(A::vip(10))) {
                    (Action::Echo, Reason::Echo) => true,
                    (Action::Drop, Reason::EchoLimited) => false,
                    other => panic!("{other:?}"),
                })
                .count() as u32
        };
        assert_eq!(answered(), ECHO_REPLIES);
        assert_eq!(answered(), 0);
        dp.advance(1);
        assert_eq!(answered(), ECHO_REPLIES);
    }
}
