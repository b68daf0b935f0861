//! Packets whose sum the device has taken over all of it (`CHECKSUM_COMPLETE`): what the kernel keeps beside the packet must
//! still be true after a rewrite.

use anyhow::{Context, Result, ensure};
use lb_common::addr::Protocol;
use lb_common::packet::TcpFlags;
use lb_common::testing::{Frame, L4, MemoryDataplane};

use crate::family::{Family, on_both_families};
use crate::loaded::{Loaded, Program};
use crate::test_run::run_summed;

on_both_families! {
    fn the_sum_of_the_whole_packet_stays_true<A>() -> Result<()> {
        for (port, target) in [(80, 80), (80, 8_080)] {
            for (protocol, l4) in [
                (Protocol::Tcp, L4::tcp(40_000, port, TcpFlags::SYN)),
                (Protocol::Udp, L4::udp(40_000, port, b"what is the time?")),
                (Protocol::Udp, L4::Udp { source: 40_000, destination: port, checksum: false, payload: vec![1; 9] }),
            ] {
                let mut dp = MemoryDataplane::<A>::new();
                dp.serve(1, A::vip(10), port, protocol, &[(A::pod(2), target)]);
                let sent = Frame::new(A::pod(1), A::vip(10), l4);
                for mut loaded in [Loaded::new()?, Loaded::without_ipv6_sums()?] {
                    loaded.fill(&dp)?;
                    check(&loaded, &sent, (A::pod(2), target))?;
                }
            }
        }
        Ok(())
    }
}

fn check<A: Family>(loaded: &Loaded, sent: &Frame<A>, backend: (A, u16)) -> Result<()> {
    let at_backend = sent.with_destination(backend.0, backend.1);
    let out = run_summed(loaded.program(Program::FromWorkload)?, &sent.build())
        .map(|(_, out)| out)
        .with_context(|| format!("on the way to the backend: {sent:?}"))?;
    ensure!(out == at_backend.build(), "not translated: {sent:?}");

    let reply = at_backend.reversed();
    let back = run_summed(loaded.program(Program::ToWorkload)?, &reply.build())
        .map(|(_, out)| out)
        .with_context(|| format!("on the way back: {reply:?}"))?;
    ensure!(back != reply.build(), "not translated: {reply:?}");

    let kind = if A::OCTETS == 4 { [3, 3] } else { [1, 4] };
    for (program, about, by) in [
        (Program::ToWorkload, &at_backend, at_backend.ip.destination),
        (Program::FromWorkload, &sent.reversed(), sent.ip.source),
    ] {
        let error = about.icmp_error(by, kind, 100);
        let out = run_summed(loaded.program(program)?, &error.build())
            .map(|(_, out)| out)
            .with_context(|| format!("an error: {error:?}"))?;
        ensure!(out != error.build(), "not translated: {error:?}");
    }
    Ok(())
}
