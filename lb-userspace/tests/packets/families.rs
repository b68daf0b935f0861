//! Packets of a family that is not served are nobody's, whatever stands in them.

use anyhow::Result;
use lb_common::families::{self, IPV4, IPV6};
use lb_common::packet::TcpFlags;
use lb_common::service_cidr::ServiceCidrs;
use lb_common::testing::{Frame, L4, MemoryDataplane};

use crate::family::{Family, WEB, on_both_families, services};
use crate::loaded::{Loaded, NEXT, Program, Ran};

/// An address that no Service has.
const NOBODY: u8 = 98;

/// Services, their range of addresses, and a flow that may have pod 1 as its backend.
fn served<A: Family>() -> MemoryDataplane<A> {
    let mut dp = services::<A>();
    dp.service_cidrs = ServiceCidrs::new([(A::vip(0), A::OCTETS as u32 * 8 - 8)]);
    dp
}

/// Packets that are translated, answered, held, dropped or counted where the family is served.
fn packets<A: Family>() -> Vec<(Program, Vec<u8>)> {
    let (client, backend) = (A::pod(100), A::pod(1));
    let to = |vip, l4| Frame::new(client, A::vip(vip), l4);
    let syn = to(WEB, L4::tcp(40_000, 80, TcpFlags::SYN));
    let large = to(WEB, L4::udp(40_000, 53, &[7; 4_000])).fragments(7, 1_448);
    let answer = Frame::new(backend, client, L4::udp(5353, 40_000, &[7; 4_000]));
    let mut packets = vec![
        (Program::FromWorkload, syn.build()),
        (
            Program::FromWorkload,
            syn.build()[..A::SHORTEST + 10].to_vec(),
        ),
        (
            Program::FromWorkload,
            to(NOBODY, L4::tcp(40_000, 80, TcpFlags::SYN)).build(),
        ),
        (
            Program::FromWorkload,
            Frame::echo_request(client, A::vip(WEB), 1, b"").build(),
        ),
        (Program::FromWorkload, large[1].build()),
        (Program::FromWorkload, large[0].build()),
    ];
    let answer = answer.fragments(9, 1_448);
    packets.extend([1, 0].map(|part: usize| (Program::ToWorkload, answer[part].build())));
    packets
}

on_both_families! {
    fn one_that_is_not_served_passes_untouched_and_uncounted<A>() -> Result<()> {
        let ours = families::bit(A::OCTETS);
        let other = (IPV4 | IPV6) & !ours;
        let mut without = Loaded::serving(other)?;
        let mut with = Loaded::serving(ours)?;
        for loaded in [&mut without, &mut with] {
            loaded.fill(&served::<A>())?;
            loaded.mark_backend(&A::pod(1))?;
        }
        for (program, frame) in packets::<A>() {
            let passed = Ran { action: NEXT, frame: frame.clone(), counted: [].into() };
            assert_eq!(without.run(program, &frame)?, passed);
            assert_ne!(with.run(program, &frame)?, passed);
        }
        assert!(without.flows::<A>()?.is_empty());
        assert!(!with.flows::<A>()?.is_empty());
        Ok(())
    }
}
