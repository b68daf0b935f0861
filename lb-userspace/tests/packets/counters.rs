//! Each verdict counts under its name, once a packet, and nothing else does.

use anyhow::Result;
use lb_common::addr::Protocol;
use lb_common::packet::TcpFlags;
use lb_common::reason::Reason;
use lb_common::testing::{Extension, Frame, L4, Part};

use crate::family::{BROKEN, ELSEWHERE, EMPTY, Family, WEB, on_both_families, services};
use crate::loaded::{Loaded, Program};

const SYN: u8 = TcpFlags::SYN;

fn frame<A: Family>(vip: u8, l4: L4) -> Frame<A> {
    Frame::new(A::pod(100), A::vip(vip), l4)
}

/// A packet for each reason that a packet alone can bring about, in an order in which each has its effect.
fn packets<A: Family>() -> Vec<(Reason, Program, Vec<u8>)> {
    let segment = |vip, flags| frame::<A>(vip, L4::tcp(40_000, 80, flags));
    let other = L4::Other {
        protocol: 47,
        payload: vec![0; 12],
    };
    let part = |identification, offset, port| {
        let mut part = frame::<A>(WEB, L4::udp(40_000, port, b"12345678"));
        part.ip.part = Some(Part {
            identification,
            offset,
            more: true,
        });
        part.build()
    };
    let reply = segment(WEB, TcpFlags::ACK)
        .with_destination(A::pod(1), 8080)
        .reversed();
    let (from, to) = (Program::FromWorkload, Program::ToWorkload);
    vec![
        (
            Reason::UnknownProtocol,
            from,
            frame::<A>(WEB, other).build(),
        ),
        (
            Reason::Malformed,
            from,
            segment(WEB, SYN).build()[..A::SHORTEST + 10].to_vec(),
        ),
        (
            Reason::Malformed,
            to,
            segment(WEB, SYN).build()[..A::SHORTEST + 10].to_vec(),
        ),
        (Reason::FragmentHeld, from, part(1, 8, 53)),
        (Reason::UnknownPort, from, part(2, 0, 81)),
        (Reason::FragmentWithoutFirst, from, part(2, 8, 81)),
        (Reason::NewFlow, from, segment(WEB, SYN).build()),
        (Reason::Forward, from, segment(WEB, TcpFlags::ACK).build()),
        (Reason::Reply, to, reply.build()),
        (Reason::NoEndpoint, from, segment(EMPTY, SYN).build()),
        (
            Reason::UnknownPort,
            from,
            frame::<A>(WEB, L4::tcp(40_000, 81, SYN)).build(),
        ),
        (
            Reason::NoLocalEndpoint,
            from,
            segment(ELSEWHERE, SYN).build(),
        ),
        (Reason::BackendMissing, from, segment(BROKEN, SYN).build()),
        (Reason::SourcePort, from, segment(15, SYN).build()),
        (
            Reason::Echo,
            from,
            Frame::echo_request(A::pod(100), A::vip(WEB), 1, b"").build(),
        ),
    ]
}

on_both_families! {
    fn each_reason_is_counted_by_its_name<A>() -> Result<()> {
        let mut dp = services::<A>();
        dp.serve(6, A::vip(15), 80, Protocol::Tcp, &[(A::pod(1), 8080)]);
        let mut loaded = Loaded::with(&dp)?;
        loaded.mark_backend(&A::pod(100))?;
        for (reason, program, octets) in packets::<A>() {
            let counted = loaded.run(program, &octets)?.counted;
            assert_eq!(counted, [(reason.name(), 1)].into(), "{reason:?}");
        }
        Ok(())
    }

    fn a_flow_whose_backend_is_gone_is_counted_as_reselected_s51<A>() -> Result<()> {
        let mut dp = services::<A>();
        let mut loaded = Loaded::with(&dp)?;
        let question = frame::<A>(WEB, L4::udp(40_000, 53, b"")).build();
        loaded.run(Program::FromWorkload, &question)?;
        dp.serve(2, A::vip(WEB), 53, Protocol::Udp, &[(A::pod(2), 5353)]);
        loaded.fill(&dp)?;
        let counted = loaded.run(Program::FromWorkload, &question)?.counted;
        assert_eq!(counted, [("reselected", 1)].into());
        Ok(())
    }

    fn what_is_for_no_service_is_not_counted<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let direct = Frame::<A>::new(A::pod(100), A::pod(1), L4::tcp(40_000, 8080, SYN)).build();
        for program in [Program::FromWorkload, Program::ToWorkload] {
            assert_eq!(loaded.run(program, &direct)?.counted, [].into());
        }
        Ok(())
    }
}

#[test]
fn a_packet_that_is_too_long_to_quote_is_dropped_and_counted_so() -> Result<()> {
    let mut loaded = Loaded::with(&services::<[u8; 16]>())?;
    let mut frame = frame::<[u8; 16]>(EMPTY, L4::tcp(40_000, 80, TcpFlags::ACK));
    frame.ip.extensions = vec![Extension::Destination(vec![0; 254])];
    let ran = loaded.run(Program::FromWorkload, &frame.build())?;
    assert_eq!(ran.action, crate::loaded::DROP);
    assert_eq!(
        ran.counted,
        [("no-endpoint", 1), ("reject-failed", 1)].into()
    );
    Ok(())
}
