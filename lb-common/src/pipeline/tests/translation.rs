//! Packets there and back, against frames built from scratch.

use super::*;
use crate::packet::sctp::ChunkType;
use crate::testing::strategies::{holds, on_both_families, whole};

on_both_families! {
    fn a_packet_reaches_a_backend_and_its_answer_comes_from_the_vip<A>() {
        holds((whole::<A>(), 1u8..20), |(frame, pods)| {
            let protocol = protocol_of(&frame);
            let (dp, _) = serving::<A>(protocol, pods);
            let frame = frame.with_destination(A::vip(10), 80);

            let mut octets = frame.build();
            let verdict = dp.send(&mut octets);
            let Endpoint { address, port } = verdict.rewrite.to;
            assert_eq!((verdict.action, verdict.reason), (Action::Rewrite, Reason::NewFlow));
            assert!(endpoints::<A>(pods).contains(&(address, port.get())), "{address:?}");
            let at_backend = frame.with_destination(address, 8080);
            assert_eq!(octets, at_backend.build());

            let is_over = match &frame.l4 {
                L4::Tcp { flags, .. } => flags & RST != 0,
                L4::Sctp { chunk, .. } => ChunkType(*chunk).as_tcp().rst(),
                L4::Udp { .. } | L4::Other { .. } => false,
            };
            if is_over {
                return;
            }
            let mut answer = at_backend.reversed().build();
            assert_eq!(dp.receive(&mut answer).reason, Reason::Reply);
            assert_eq!(answer, frame.reversed().build());
            assert_no_half_flow(&dp);
        });
    }

    fn a_backend_gets_the_port_that_its_endpoint_has_s3<A>() {
        let mut dp = MemoryDataplane::<A>::new();
        let endpoints = [(A::pod(1), 8080), (A::pod(2), 9090)];
        dp.serve(SERVICE, A::vip(10), 80, Protocol::Tcp, &endpoints);
        for port in 40_000..40_100 {
            let to = send(&dp, &segment(port, SYN)).rewrite.to;
            assert!(endpoints.contains(&(to.address, to.port.get())), "{to:?}");
        }
    }

    fn answers_of_a_stranger_are_not_touched<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        let frame = segment::<A>(40_000, SYN);
        send(&dp, &frame);
        let answer = frame.with_destination(A::pod(1), 8080).reversed();
        for stranger in [
            answer.with_source(A::pod(1), 8081),
            answer.with_source(A::pod(2), 8080),
            answer.with_destination(A::pod(100), 40_001),
            answer.with_destination(A::pod(101), 40_000),
            Frame::new(A::pod(1), A::pod(100), L4::udp(8080, 40_000, b"")),
        ] {
            assert_eq!(receive(&dp, &stranger).reason, Reason::NotForService, "{stranger:?}");
        }
        assert_eq!(receive(&dp, &answer).reason, Reason::Reply);
    }

    fn a_pod_that_speaks_to_a_backend_directly_hears_it_directly<A>() {
        let (dp, _) = serving::<A>(Protocol::Tcp, 1);
        let direct = Frame::<A>::new(A::pod(100), A::pod(1), L4::tcp(40_000, 8080, SYN));
        assert_eq!(send(&dp, &direct).reason, Reason::NotForService);
        assert_eq!(receive(&dp, &direct.reversed()).reason, Reason::NotForService);
    }

    fn each_frontend_of_a_backend_answers_with_its_own_address<A>() {
        let mut dp = MemoryDataplane::<A>::new();
        dp.serve(1, A::vip(10), 80, Protocol::Tcp, &[(A::pod(1), 8080)]);
        dp.serve(2, A::vip(11), 443, Protocol::Tcp, &[(A::pod(1), 8080)]);
        for port in 40_000..40_100 {
            let first = Frame::<A>::new(A::pod(100), A::vip(10), L4::tcp(port, 80, SYN));
            let second = Frame::<A>::new(A::pod(101), A::vip(11), L4::tcp(port, 443, SYN));
            for frame in [&first, &second] {
                send(&dp, frame);
            }
            for frame in [first, second] {
                let mut answer = frame.with_destination(A::pod(1), 8080).reversed().build();
                dp.receive(&mut answer);
                assert_eq!(answer, frame.reversed().build());
            }
        }
    }
}
