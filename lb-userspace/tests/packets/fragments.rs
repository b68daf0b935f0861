//! Datagrams in fragments, there and back: each fragment that comes out is that of the datagram translated as a whole (S-33).

use anyhow::Result;
use lb_common::testing::{Frame, L4};

use crate::family::{Family, WEB, on_both_families, services};
use crate::loaded::{DROP, Loaded, NEXT, Program};

/// A datagram with data in which no two fragments are alike.
fn datagram<A: Family>(source: (A, u16), destination: (A, u16), len: usize) -> Frame<A> {
    let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    Frame::new(
        source.0,
        destination.0,
        L4::udp(source.1, destination.1, &data),
    )
}

/// Runs each fragment of a datagram, and holds what comes out against those of the expected one.
#[track_caller]
fn check<A: Family>(
    loaded: &mut Loaded,
    program: Program,
    given: &Frame<A>,
    expected: &Frame<A>,
    first: &str,
) -> Result<()> {
    const MOST: usize = 1_448;
    let pairs = given
        .fragments(7, MOST)
        .into_iter()
        .zip(expected.fragments(7, MOST));
    for (i, (given, expected)) in pairs.enumerate() {
        let ran = loaded.run(program, &given.build())?;
        let counted = if i == 0 { first } else { "fragment" };
        assert_eq!((ran.action, ran.frame), (NEXT, expected.build()), "{i}");
        assert_eq!(ran.counted, [(counted, 1)].into(), "{i}");
    }
    Ok(())
}

on_both_families! {
    fn a_large_datagram_and_its_answer_are_translated_s33<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let (client, vip, backend) = ((A::pod(100), 40_000), (A::vip(WEB), 53), (A::pod(1), 5353));
        for (len, first) in [(8_000, "new-flow"), (20_001, "forward"), (60_000, "forward")] {
            let [sent, at_backend] = [vip, backend].map(|to| datagram(client, to, len));
            check(&mut loaded, Program::FromWorkload, &sent, &at_backend, first)?;
            let [answer, heard] = [backend, vip].map(|from| datagram(from, client, len));
            check(&mut loaded, Program::ToWorkload, &answer, &heard, "reply")?;
        }
        Ok(())
    }

    fn a_pod_reaches_itself_with_a_large_datagram_s33_s42<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let (client, server, vip) = ((A::pod(1), 40_000), (A::pod(1), 5353), A::vip(WEB));
        let question = [(client, (vip, 53)), (client, server), ((vip, 40_000), server)];
        let answer = [(server, (vip, 40_000)), (server, client), ((vip, 53), client)];
        for (ends, first) in [(question, "new-flow"), (answer, "forward")] {
            let [sent, between, heard] = ends.map(|(from, to)| datagram(from, to, 8_000));
            check(&mut loaded, Program::FromWorkload, &sent, &between, first)?;
            check(&mut loaded, Program::ToWorkload, &between, &heard, "reply")?;
        }
        Ok(())
    }

    fn fragments_in_disorder_are_translated_after_the_first_and_dropped_before_it_s33<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let sent = datagram((A::pod(100), 40_000), (A::vip(WEB), 53), 7_000);
        let fragments = sent.fragments(7, 1_448);
        let expected = sent.with_destination(A::pod(1), 5353).fragments(7, 1_448);
        for (i, action) in [(3, DROP), (0, NEXT), (4, NEXT), (2, NEXT), (1, NEXT), (3, NEXT)] {
            let ran = loaded.run(Program::FromWorkload, &fragments[i].build())?;
            assert_eq!(ran.action, action, "{i}");
            if action == NEXT {
                assert_eq!(ran.frame, expected[i].build(), "{i}");
            }
        }
        Ok(())
    }
}
