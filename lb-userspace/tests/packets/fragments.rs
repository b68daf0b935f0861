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

    fn a_fragment_that_comes_before_the_first_is_held_and_comes_again_behind_it_s33<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let (client, vip, backend) = ((A::pod(100), 40_000), (A::vip(WEB), 53), (A::pod(1), 5353));
        let sent = datagram(client, vip, 7_000).fragments(7, 1_448);
        let at_backend = datagram(client, backend, 7_000).fragments(7, 1_448);
        let answer = datagram(backend, client, 7_000).fragments(9, 1_448);
        let heard = datagram(vip, client, 7_000).fragments(9, 1_448);
        let both = [
            (Program::FromWorkload, sent, at_backend, "new-flow"),
            (Program::ToWorkload, answer, heard, "reply"),
        ];
        for (program, given, expected, first) in both {
            for i in [3, 1] {
                let ran = loaded.run(program, &given[i].build())?;
                assert_eq!((ran.action, ran.counted), (DROP, [("fragment-held", 1)].into()), "{i}");
            }
            // Copies go back to the device, one of the first fragment and one of each that was held.
            let ran = loaded.run(program, &given[0].build())?;
            assert_eq!((ran.action, ran.frame), (DROP, given[1].build()));
            assert_eq!(ran.counted, [(first, 1)].into());
            for i in [3, 1, 4, 2] {
                let ran = loaded.run(program, &given[i].build())?;
                assert_eq!((ran.action, ran.frame), (NEXT, expected[i].build()), "{i}");
            }
        }
        Ok(())
    }

    fn a_jumbo_fragment_is_not_held_s33<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let sent = datagram((A::pod(100), 40_000), (A::vip(WEB), 53), 9_000).fragments(7, 3_000);
        let ran = loaded.run(Program::FromWorkload, &sent[1].build())?;
        assert_eq!((ran.action, ran.counted), (DROP, [("fragment-without-first", 1)].into()));
        let ran = loaded.run(Program::ToWorkload, &sent[1].build())?;
        assert_eq!((ran.action, ran.frame), (NEXT, sent[1].build()));
        Ok(())
    }
}
