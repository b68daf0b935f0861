//! Pings of VIPs through the loaded programs (S-31).

use anyhow::Result;
use lb_common::testing::{Frame, Part};
use lb_common::token_bucket::ECHO_REPLIES;

use crate::family::{ELSEWHERE, EMPTY, Family, WEB, on_both_families, services};
use crate::loaded::{DROP, Loaded, NEXT, Program, REDIRECT, Ran};

/// The longest frame that the kernel runs a program on in a test is a page less its own structures.
const LONGEST: usize = 3_000;

fn ping<A: Family>(destination: A, len: usize) -> Frame<A> {
    let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
    Frame::echo_request(A::pod(100), destination, 0xbeef_0001, &data)
}

fn ran(action: i32, frame: Vec<u8>, counted: &[(&'static str, u64)]) -> Ran {
    Ran {
        action,
        frame,
        counted: counted.iter().copied().collect(),
    }
}

on_both_families! {
    fn a_ping_of_any_size_is_sent_back_as_its_reply_s31<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        for vip in [WEB, ELSEWHERE] {
            for len in [0, 1, 56, 1_400, LONGEST] {
                let mut ping = ping::<A>(A::vip(vip), len);
                ping.ip.ttl = 3;
                let expected = ran(REDIRECT, ping.echo_reply(), &[("echo", 1)]);
                assert_eq!(loaded.run(Program::FromWorkload, &ping.build())?, expected, "{len} octets");
            }
        }
        assert!(loaded.flows::<A>()?.is_empty());
        Ok(())
    }

    fn a_ping_of_a_service_without_endpoints_is_refused_s31<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let ping = ping::<A>(A::vip(EMPTY), 56);
        let expected = ran(REDIRECT, ping.port_unreachable(), &[("no-endpoint", 1)]);
        assert_eq!(loaded.run(Program::FromWorkload, &ping.build())?, expected);
        Ok(())
    }

    fn other_pings_pass<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let mut part = ping::<A>(A::vip(WEB), 56);
        part.ip.part = Some(Part { identification: 1, offset: 0, more: true });
        let whole = part.build();
        let expected = ran(NEXT, whole.clone(), &[("unknown-protocol", 1)]);
        assert_eq!(loaded.run(Program::FromWorkload, &whole)?, expected);
        for program in [Program::FromWorkload, Program::ToWorkload] {
            let direct = ping::<A>(A::pod(1), 56).build();
            assert_eq!(loaded.run(program, &direct)?, ran(NEXT, direct.clone(), &[]));
        }
        Ok(())
    }

    fn more_pings_than_a_cpu_may_answer_are_dropped_and_counted_s31<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let ping = ping::<A>(A::vip(WEB), 0);
        let octets = ping.build();
        // Faster than tokens come back, on whatever CPU each run happens to be.
        let limited = ran(DROP, octets.clone(), &[("echo-limited", 1)]);
        for _ in 0..10_000 * ECHO_REPLIES {
            let made = loaded.run(Program::FromWorkload, &octets)?;
            if made == limited {
                return Ok(());
            }
            assert_eq!(made, ran(REDIRECT, ping.echo_reply(), &[("echo", 1)]));
        }
        panic!("no ping was dropped");
    }
}
