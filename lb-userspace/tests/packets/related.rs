//! ICMP errors about packets of a flow, through the loaded programs (S-32).

use anyhow::Result;
use lb_common::packet::TcpFlags;
use lb_common::testing::{Frame, L4};

use crate::family::{Family, WEB, on_both_families, services};
use crate::loaded::{Loaded, NEXT, Program, Ran};

/// Unreachable port, too big, time exceeded, parameter problem.
fn kinds<A: Family>() -> [[u8; 2]; 4] {
    if A::OCTETS == 4 {
        [[3, 3], [3, 4], [11, 0], [12, 0]]
    } else {
        [[1, 4], [2, 0], [3, 0], [4, 1]]
    }
}

#[track_caller]
fn check<A: Family>(
    loaded: &mut Loaded,
    program: Program,
    given: &Frame<A>,
    expected: &Frame<A>,
) -> Result<()> {
    let expected = Ran {
        action: NEXT,
        frame: expected.build(),
        counted: [("icmp-error", 1)].into(),
    };
    assert_eq!(
        loaded.run(program, &given.build())?,
        expected,
        "{program:?}"
    );
    Ok(())
}

on_both_families! {
    fn errors_are_translated_in_both_directions_and_make_no_flow_s32<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let (client, backend, router) = (A::pod(100), A::pod(1), A::pod(200));
        for (l4, port) in [
            (L4::tcp(40_000, 80, TcpFlags::SYN), 8080),
            (L4::udp(40_000, 53, &[7; 1_200]), 5353),
            (L4::Udp { source: 40_001, destination: 53, checksum: false, payload: vec![1; 9] }, 5353),
        ] {
            let sent = Frame::<A>::new(client, A::vip(WEB), l4);
            let at_backend = sent.with_destination(backend, port);
            loaded.run(Program::FromWorkload, &sent.build())?;
            let flows = loaded.flows::<A>()?;
            for kind in kinds::<A>() {
                for len in [sent.ip_len() + 8, sent.ip_len() + 20, 1_000] {
                    for (by, from) in [(router, router), (backend, A::vip(WEB))] {
                        let given = at_backend.icmp_error(by, kind, len);
                        check(&mut loaded, Program::ToWorkload, &given, &sent.icmp_error(from, kind, len))?;
                    }
                    let given = sent.reversed().icmp_error(client, kind, len);
                    let expected = at_backend.reversed().icmp_error(client, kind, len);
                    check(&mut loaded, Program::FromWorkload, &given, &expected)?;
                }
            }
            assert_eq!(loaded.flows::<A>()?, flows);
        }
        Ok(())
    }
}
