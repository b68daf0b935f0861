//! Several packets in a row: what one program makes of a frame is what the next one gets.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use lb_common::addr::Protocol;
use lb_common::packet::TcpFlags;
use lb_common::testing::{Frame, L4, MemoryDataplane};

use crate::family::{Family, WEB, on_both_families, services};
use crate::loaded::{Loaded, NEXT, Program};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const FIN_ACK: u8 = TcpFlags::FIN | TcpFlags::ACK;

/// Runs a frame that must go on, and be counted once under one name.
#[track_caller]
fn goes_on(loaded: &mut Loaded, program: Program, frame: &[u8]) -> Result<(Vec<u8>, &'static str)> {
    let ran = loaded.run(program, frame)?;
    assert_eq!(ran.action, NEXT, "{ran:?}");
    let mut counted = ran.counted.iter();
    let (name, times) = counted.next().context("nothing was counted")?;
    assert_eq!((*times, counted.next()), (1, None), "{ran:?}");
    Ok((ran.frame, name))
}

/// A packet to the VIP, and the answer that the backend makes out of what reaches it.
#[track_caller]
fn round_trip<A: Family>(
    loaded: &mut Loaded,
    sent: &Frame<A>,
    backend: (A, u16),
    answer: impl Fn(&mut L4),
) -> Result<[&'static str; 2]> {
    let at_backend = sent.with_destination(backend.0, backend.1);
    let (out, first) = goes_on(loaded, Program::FromWorkload, &sent.build())?;
    assert_eq!(out, at_backend.build(), "at the backend");

    let mut reply = at_backend.reversed();
    answer(&mut reply.l4);
    let (back, second) = goes_on(loaded, Program::ToWorkload, &reply.build())?;
    let expected = reply.with_source(sent.ip.destination, sent.l4.ports().context("no ports")?.1);
    assert_eq!(back, expected.build(), "at the client");
    Ok([first, second])
}

fn flags(new: u8) -> impl Fn(&mut L4) {
    move |l4| {
        if let L4::Tcp { flags, .. } = l4 {
            *flags = new;
        }
    }
}

fn segment<A: Family>(flags: u8, data: &[u8]) -> Frame<A> {
    let l4 = L4::Tcp {
        source: 40_000,
        destination: 80,
        flags,
        sequence: 7,
        options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        payload: data.to_vec(),
    };
    Frame::new(A::pod(100), A::vip(WEB), l4)
}

on_both_families! {
    fn a_connection_opens_carries_data_and_ends<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let backend = (A::pod(1), 8080);
        let mut step = |sent: Frame<A>, answer| round_trip(&mut loaded, &sent, backend, flags(answer));
        assert_eq!(step(segment(SYN, b""), SYN | ACK)?, ["new-flow", "reply"]);
        for data in [&b"odd"[..], b"even", &[7; 1200]] {
            assert_eq!(step(segment(ACK, data), ACK)?, ["forward", "reply"]);
        }
        assert_eq!(step(segment(FIN_ACK, b""), FIN_ACK)?, ["forward", "reply"]);
        assert_eq!(step(segment(ACK, b""), ACK)?, ["forward", "reply"]);
        assert_eq!(step(segment(SYN, b""), SYN | ACK)?, ["new-flow", "reply"], "the port is used again");
        assert_eq!(loaded.flows::<A>()?.len(), 2);
        Ok(())
    }

    fn a_question_is_answered_with_and_without_checksums<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        for (sent_with, answered_with) in [(true, true), (false, false), (true, false), (false, true)] {
            let l4 = L4::Udp { source: 40_000, destination: 53, checksum: sent_with, payload: b"odd".to_vec() };
            let sent = Frame::<A>::new(A::pod(100), A::vip(WEB), l4);
            round_trip(&mut loaded, &sent, (A::pod(1), 5353), |l4| {
                if let L4::Udp { checksum, payload, .. } = l4 {
                    *checksum = answered_with;
                    *payload = vec![9; 501];
                }
            })?;
        }
        Ok(())
    }

    fn a_pod_reaches_itself_through_the_vip_s42<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let pod = A::pod(1);
        for (port, server, l4, answer) in [
            (80, 8080, L4::tcp(40_000, 80, SYN), L4::tcp(8080, 40_000, SYN | ACK)),
            (80, 8080, L4::tcp(40_000, 80, ACK), L4::tcp(8080, 40_000, ACK)),
            (53, 5353, L4::udp(40_000, 53, b"odd"), L4::udp(5353, 40_000, b"answer")),
        ] {
            let sent = Frame::<A>::new(pod, A::vip(WEB), l4);
            let (out, _) = goes_on(&mut loaded, Program::FromWorkload, &sent.build())?;
            assert_eq!(out, sent.with_destination(pod, server).build(), "out");
            let (heard, _) = goes_on(&mut loaded, Program::ToWorkload, &out)?;
            assert_eq!(heard, sent.with_destination(pod, server).with_source(A::vip(WEB), 40_000).build(), "in");

            let answer = Frame::<A>::new(pod, A::vip(WEB), answer);
            let (out, counted) = goes_on(&mut loaded, Program::FromWorkload, &answer.build())?;
            assert_eq!(counted, "forward");
            assert_eq!(out, answer.with_destination(pod, 40_000).build(), "the answer, out");
            let (heard, _) = goes_on(&mut loaded, Program::ToWorkload, &out)?;
            assert_eq!(heard, answer.with_destination(pod, 40_000).with_source(A::vip(WEB), port).build(), "the answer, in");
        }
        assert_eq!(loaded.flows::<A>()?.len(), 8);
        Ok(())
    }

    fn an_established_connection_stays_and_a_datagram_moves_when_the_backend_goes_s50_s51<A>() -> Result<()> {
        let mut dp = services::<A>();
        let mut loaded = Loaded::with(&dp)?;
        let question = Frame::<A>::new(A::pod(100), A::vip(WEB), L4::udp(40_000, 53, b"odd"));
        round_trip(&mut loaded, &segment(SYN, b""), (A::pod(1), 8080), flags(SYN | ACK))?;
        round_trip(&mut loaded, &question, (A::pod(1), 5353), |_| {})?;

        dp.serve(1, A::vip(WEB), 80, Protocol::Tcp, &[(A::pod(2), 8080)]);
        dp.serve(2, A::vip(WEB), 53, Protocol::Udp, &[(A::pod(2), 5353)]);
        loaded.fill(&dp)?;
        let stays = round_trip(&mut loaded, &segment(ACK, b"data"), (A::pod(1), 8080), flags(ACK))?;
        assert_eq!(stays, ["forward", "reply"]);
        let moves = round_trip(&mut loaded, &question, (A::pod(2), 5353), |_| {})?;
        assert_eq!(moves, ["reselected", "reply"]);
        Ok(())
    }

    fn a_client_stays_with_its_backend_where_the_service_wants_so_s25<A>() -> Result<()> {
        let mut dp = MemoryDataplane::<A>::new();
        let pods = [(A::pod(1), 8080), (A::pod(2), 8080), (A::pod(3), 8080)];
        dp.serve(1, A::vip(WEB), 80, Protocol::Tcp, &pods);
        let mut seen = [0; 2];
        for (seconds, seen) in [0, 10_800].into_iter().zip(&mut seen) {
            dp.set_affinity_seconds(1, seconds);
            let mut loaded = Loaded::with(&dp)?;
            let mut reached = BTreeSet::new();
            for port in 40_000..40_015 {
                let sent = Frame::<A>::new(A::pod(100), A::vip(WEB), L4::tcp(port, 80, SYN));
                let (out, _) = goes_on(&mut loaded, Program::FromWorkload, &sent.build())?;
                let pod = (1..=3).find(|n| out == sent.with_destination(A::pod(*n), 8080).build());
                reached.insert(pod.context("no pod's")?);
            }
            *seen = reached.len();
            assert_eq!(loaded.affinity::<A>()?.len(), usize::from(seconds > 0));
        }
        assert_eq!(seen, [3, 1], "pods reached without and with affinity");
        Ok(())
    }

    fn two_frontends_of_one_backend_answer_each_with_its_own_address<A>() -> Result<()> {
        let mut dp = MemoryDataplane::<A>::new();
        dp.serve(1, A::vip(10), 80, Protocol::Tcp, &[(A::pod(1), 8080)]);
        dp.serve(2, A::vip(11), 443, Protocol::Tcp, &[(A::pod(1), 8080)]);
        let mut loaded = Loaded::with(&dp)?;
        for (client, vip, port) in [(100, 10, 80), (101, 11, 443), (100, 10, 80)] {
            let sent = Frame::<A>::new(A::pod(client), A::vip(vip), L4::tcp(40_000, port, SYN));
            round_trip(&mut loaded, &sent, (A::pod(1), 8080), flags(SYN | ACK))?;
        }
        Ok(())
    }
}
