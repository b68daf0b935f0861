//! Packets to addresses of a Service CIDR that no Service has, through the loaded programs (S-30 d).

use anyhow::Result;
use lb_common::packet::TcpFlags;
use lb_common::service_cidr::ServiceCidrs;
use lb_common::testing::{Frame, L4, MemoryDataplane};
use lb_common::vip_filter;

use crate::family::{Family, WEB, on_both_families, services};
use crate::loaded::{DROP, Loaded, NEXT, Program, Ran};

/// An address that no Service has.
const NOBODY: u8 = 98;
/// One that a Service has and that is not served.
const UNSERVED: u8 = 99;

fn with_cidr<A: Family>() -> MemoryDataplane<A> {
    let mut dp = services::<A>();
    dp.service_cidrs = ServiceCidrs::new([(A::vip(0), A::OCTETS as u32 * 8 - 8)]);
    dp.unserved.insert(A::vip(UNSERVED));
    dp
}

fn to<A: Family>(address: A) -> Vec<Frame<A>> {
    let client = A::pod(100);
    let about = Frame::new(address, client, L4::udp(53, 40_000, b""));
    let kind = if A::OCTETS == 4 { [3, 3] } else { [1, 4] };
    let l4s = [
        L4::tcp(40_000, 80, TcpFlags::SYN),
        L4::tcp(40_000, 80, TcpFlags::ACK),
        L4::udp(40_000, 53, b"odd"),
        L4::sctp(40_000, 132, 1),
        L4::Other {
            protocol: 200,
            payload: vec![0; 12],
        },
    ];
    let packets = l4s.map(|l4| Frame::new(client, address, l4)).into_iter();
    let ping = Frame::echo_request(client, address, 1, b"");
    packets
        .chain([ping, about.icmp_error(client, kind, 200)])
        .collect()
}

on_both_families! {
    fn they_are_dropped_and_counted_whatever_they_are_s30d<A>() -> Result<()> {
        let mut dp = with_cidr::<A>();
        for _ in ["its bit is clear", "its bit is set"] {
            let mut loaded = Loaded::with(&dp)?;
            for frame in to(A::vip(NOBODY)) {
                let frame = frame.build();
                let ran = loaded.run(Program::FromWorkload, &frame)?;
                assert_eq!(ran, Ran { action: DROP, frame, counted: [("unallocated", 1)].into() });
            }
            assert!(loaded.flows::<A>()?.is_empty());
            dp.vip_filter.insert(vip_filter::bit(&A::vip(NOBODY)));
        }
        Ok(())
    }

    fn others_pass_s1<A>() -> Result<()> {
        let mut dp = with_cidr::<A>();
        for _ in ["its bit is clear", "its bit is set"] {
            let mut loaded = Loaded::with(&dp)?;
            for address in [A::vip(UNSERVED), A::pod(1)] {
                for frame in to(address) {
                    let frame = frame.build();
                    let ran = loaded.run(Program::FromWorkload, &frame)?;
                    assert_eq!(ran, Ran { action: NEXT, frame, counted: [].into() });
                }
            }
            dp.vip_filter.insert(vip_filter::bit(&A::vip(UNSERVED)));
        }
        // Nothing is for nobody where no CIDR is known.
        dp.service_cidrs = ServiceCidrs::none();
        let mut loaded = Loaded::with(&dp)?;
        for frame in to(A::vip(NOBODY)) {
            let frame = frame.build();
            let ran = loaded.run(Program::FromWorkload, &frame)?;
            assert_eq!(ran, Ran { action: NEXT, frame, counted: [].into() });
        }
        Ok(())
    }

    fn a_vip_is_served_and_what_comes_from_such_an_address_passes<A>() -> Result<()> {
        let mut loaded = Loaded::with(&with_cidr::<A>())?;
        let syn = L4::tcp(40_000, 80, TcpFlags::SYN);
        let frame = Frame::new(A::pod(100), A::vip(WEB), syn.clone()).build();
        let ran = loaded.run(Program::FromWorkload, &frame)?;
        assert_eq!(ran.counted, [("new-flow", 1)].into());
        let frame = Frame::new(A::vip(NOBODY), A::pod(100), syn).build();
        let ran = loaded.run(Program::ToWorkload, &frame)?;
        assert_eq!(ran, Ran { action: NEXT, frame, counted: [].into() });
        Ok(())
    }

    fn each_of_as_many_ranges_as_there_is_room_for_is_compared<A>() -> Result<()> {
        let mut dp = services::<A>();
        let bits = A::OCTETS as u32 * 8;
        let ends = (0..lb_common::service_cidr::MOST as u8).map(|n| 100 + 2 * n);
        dp.service_cidrs = ServiceCidrs::new(ends.clone().map(|n| (A::vip(n), bits)));
        let mut loaded = Loaded::with(&dp)?;
        for (n, action) in ends.flat_map(|n| [(n, DROP), (n + 1, NEXT)]) {
            let frame = Frame::new(A::pod(100), A::vip(n), L4::udp(40_000, 53, b"")).build();
            let ran = loaded.run(Program::FromWorkload, &frame)?;
            assert_eq!(ran.action, action, "{n}");
        }
        Ok(())
    }
}
