//! One client port through two frontends to one backend: the loaded programs let it see two ports.

use anyhow::{Context, Result, ensure};
use lb_common::addr::Protocol;
use lb_common::packet::TcpFlags;
use lb_common::packet::sctp::ChunkType;
use lb_common::testing::{Extension, Frame, L4, MemoryDataplane};

use crate::family::{Family, on_both_families};
use crate::loaded::{DROP, Loaded, NEXT, Program};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;

/// VIPs 10 and 11, served by one pod, over each protocol.
fn two_frontends<A: Family>() -> MemoryDataplane<A> {
    let mut dp = MemoryDataplane::new();
    for vip in [10, 11] {
        for (id, protocol) in (u32::from(vip) * 3..).zip(Protocol::ALL) {
            dp.serve(id, A::vip(vip), 80, protocol, &[(A::pod(1), 8080)]);
        }
    }
    dp
}

/// Packets of every shape, from port 40 000 of pod 100 to VIP 11.
fn shapes<A: Family>() -> Vec<Frame<A>> {
    let tcp = |flags, options: &[u8], payload: &[u8]| L4::Tcp {
        source: 40_000,
        destination: 80,
        flags,
        sequence: 0xffff_fff0,
        options: options.to_vec(),
        payload: payload.to_vec(),
    };
    let udp = |checksum, payload: &[u8]| L4::Udp {
        source: 40_000,
        destination: 80,
        checksum,
        payload: payload.to_vec(),
    };
    let frame = |l4| Frame::new(A::pod(100), A::vip(11), l4);
    let mut with_options = frame(tcp(ACK, &[1; 40], b"odd"));
    if A::OCTETS == 4 {
        with_options.ip.options = vec![0x94, 4, 0, 0];
    } else {
        with_options.ip.extensions = vec![Extension::Destination(vec![1, 4, 0, 0, 0, 0])];
    }
    vec![
        frame(tcp(SYN, &[], b"")),
        frame(tcp(ACK, &[], &[7; 1400])),
        with_options,
        frame(udp(true, b"odd")),
        frame(udp(true, &[7; 1400])),
        frame(udp(false, &[1, 2, 3])),
        frame(L4::sctp(40_000, 80, ChunkType::INIT)),
        frame(L4::Sctp {
            source: 40_000,
            destination: 80,
            tag: 7,
            chunk: ChunkType::DATA,
            value: vec![7; 1400],
        }),
    ]
}

/// A frame to VIP 11 as the pod gets it, where its port is taken, and why.
#[track_caller]
fn led<A: Family>(loaded: &mut Loaded, sent: &Frame<A>) -> Result<(Frame<A>, &'static str)> {
    let ran = loaded.run(Program::FromWorkload, &sent.build())?;
    ensure!(ran.action == NEXT, "{ran:?}");
    let flows = loaded.flows::<A>()?;
    let mut of_vip = flows.values().filter(|flow| {
        flow.frontend().address == A::vip(11) && flow.protocol().number() == sent.l4.protocol()
    });
    let port = of_vip.next().context("no flow")?.source_port().get();
    ensure!(port != 40_000, "its own port");
    let at_backend = sent
        .with_destination(A::pod(1), 8080)
        .with_source(A::pod(100), port);
    assert_eq!(ran.frame, at_backend.build());
    let counted: Vec<_> = ran.counted.into_iter().collect();
    let [(name, 1)] = counted[..] else {
        anyhow::bail!("counted {counted:?}")
    };
    Ok((at_backend, name))
}

/// Takes port 40 000 of pod 100 at the pod, through VIP 10.
fn take_the_port<A: Family>(loaded: &mut Loaded) -> Result<()> {
    for l4 in [
        L4::tcp(40_000, 80, SYN),
        L4::udp(40_000, 80, b""),
        L4::sctp(40_000, 80, ChunkType::INIT),
    ] {
        let first = Frame::<A>::new(A::pod(100), A::vip(10), l4);
        let ran = loaded.run(Program::FromWorkload, &first.build())?;
        assert_eq!(ran.counted, [("new-flow", 1)].into());
        assert_eq!(ran.frame, first.with_destination(A::pod(1), 8080).build());
    }
    Ok(())
}

on_both_families! {
    fn packets_of_every_shape_go_there_and_back<A>() -> Result<()> {
        for sent in shapes::<A>() {
            let mut loaded = Loaded::with(&two_frontends::<A>())?;
            take_the_port::<A>(&mut loaded)?;
            let (at_backend, counted) = led(&mut loaded, &sent)?;
            assert_eq!(counted, "source-port");
            for _ in 0..2 {
                let back = loaded.run(Program::ToWorkload, &at_backend.reversed().build())?;
                assert_eq!(back.counted, [("reply", 1)].into());
                assert_eq!(back.frame, sent.reversed().build());
                if let L4::Tcp { flags: SYN, .. } = sent.l4 {
                    break;
                }
                assert_eq!(led(&mut loaded, &sent)?, (at_backend.clone(), "forward"));
            }
        }
        Ok(())
    }

    fn the_sum_of_the_whole_packet_stays_true<A>() -> Result<()> {
        for sent in shapes::<A>() {
            let mut loaded = Loaded::with(&two_frontends::<A>())?;
            take_the_port::<A>(&mut loaded)?;
            let (at_backend, _) = led(&mut loaded, &sent)?;
            let out = loaded.run_summed(Program::FromWorkload, &sent.build())?;
            assert_eq!((out.action, out.frame), (NEXT, at_backend.build()));
            let back = loaded.run_summed(Program::ToWorkload, &at_backend.reversed().build())?;
            assert_eq!((back.action, back.frame), (NEXT, sent.reversed().build()));
        }
        Ok(())
    }

    fn a_large_datagram_and_its_answer_go_there_and_back_s33<A>() -> Result<()> {
        let mut loaded = Loaded::with(&two_frontends::<A>())?;
        take_the_port::<A>(&mut loaded)?;
        let sent = Frame::<A>::new(A::pod(100), A::vip(11), L4::udp(40_000, 80, &[7; 3_000]));
        // Which port it is shows in a small one.
        let small = Frame::<A>::new(A::pod(100), A::vip(11), L4::udp(40_000, 80, b"small"));
        let (small, _) = led(&mut loaded, &small)?;
        let port = small.l4.ports().context("no ports")?.0;
        let at_backend = sent.with_destination(A::pod(1), 8080).with_source(A::pod(100), port);
        for (program, given, expected) in [
            (Program::FromWorkload, &sent, &at_backend),
            (Program::ToWorkload, &at_backend.reversed(), &sent.reversed()),
        ] {
            for (given, expected) in given.fragments(7, 1_400).iter().zip(expected.fragments(7, 1_400)) {
                assert_eq!(loaded.run(program, &given.build())?.frame, expected.build());
            }
        }
        Ok(())
    }

    fn errors_are_translated_with_the_ports_that_they_quote_s32<A>() -> Result<()> {
        let kind = if A::OCTETS == 4 { [3, 3] } else { [1, 4] };
        for sent in shapes::<A>() {
            let mut loaded = Loaded::with(&two_frontends::<A>())?;
            take_the_port::<A>(&mut loaded)?;
            let (at_backend, _) = led(&mut loaded, &sent)?;
            for len in [sent.ip_len() + 8, sent.ip_len() + 20, 200] {
                for (by, from) in [(A::pod(200), A::pod(200)), (A::pod(1), A::vip(11))] {
                    let ran = loaded.run(Program::ToWorkload, &at_backend.icmp_error(by, kind, len).build())?;
                    assert_eq!(ran.frame, sent.icmp_error(from, kind, len).build());
                }
                let ran = loaded.run(Program::FromWorkload, &sent.reversed().icmp_error(A::pod(100), kind, len).build())?;
                assert_eq!(ran.frame, at_backend.reversed().icmp_error(A::pod(100), kind, len).build());
            }
        }
        Ok(())
    }

    fn where_no_port_is_free_it_drops_and_enters_nothing<A>() -> Result<()> {
        let mut loaded = Loaded::with(&two_frontends::<A>())?;
        let frame = |vip, port| Frame::<A>::new(A::pod(100), A::vip(vip), L4::tcp(port, 80, SYN)).build();
        for port in 1..512 {
            let ran = loaded.run(Program::FromWorkload, &frame(10, port))?;
            assert_eq!(ran.counted, [("new-flow", 1)].into(), "port {port}");
        }
        let ran = loaded.run(Program::FromWorkload, &frame(11, 300))?;
        assert_eq!((ran.action, ran.counted), (DROP, [("tuple-clash", 1)].into()));
        assert_eq!(ran.frame, frame(11, 300));
        assert_eq!(loaded.flows::<A>()?.len(), 2 * 511);
        Ok(())
    }

    fn a_pod_reaches_itself_from_the_port_that_it_serves_s42<A>() -> Result<()> {
        let mut loaded = Loaded::with(&two_frontends::<A>())?;
        let pod = A::pod(1);
        let sent = Frame::<A>::new(pod, A::vip(10), L4::tcp(8080, 80, SYN));
        let out = loaded.run(Program::FromWorkload, &sent.build())?;
        assert_eq!(out.counted, [("source-port", 1)].into());
        let flows = loaded.flows::<A>()?;
        assert_eq!(flows.len(), 4);
        let flow = flows.values().find(|flow| flow.has_other_source_port()).context("no such flow")?;
        let port = flow.source_port().get();
        let between = sent.with_destination(pod, 8080).with_source(pod, port);
        assert_eq!(out.frame, between.build(), "out");
        let heard = between.with_source(A::vip(10), port);
        let into = loaded.run(Program::ToWorkload, &between.build())?;
        assert_eq!(into.frame, heard.build(), "in");

        let answer = Frame::<A>::new(pod, A::vip(10), L4::tcp(8080, port, SYN | ACK));
        let between = answer.with_destination(pod, port);
        let out = loaded.run(Program::FromWorkload, &answer.build())?;
        assert_eq!((out.frame, out.counted), (between.build(), [("forward", 1)].into()), "the answer, out");
        let into = loaded.run(Program::ToWorkload, &between.build())?;
        let expected = Frame::<A>::new(A::vip(10), pod, L4::tcp(80, 8080, SYN | ACK));
        assert_eq!((into.frame, into.counted), (expected.build(), [("reply", 1)].into()), "the answer, in");
        Ok(())
    }
}
