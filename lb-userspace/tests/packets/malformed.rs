//! Packets that are cut, lie or make no sense: they go on unchanged, and those that can't be read are counted.

use anyhow::Result;
use lb_common::packet::{ETHERNET, TcpFlags};
use lb_common::testing::{Extension, Frame, L4};

use crate::family::{Family, WEB, on_both_families, services};
use crate::loaded::{Loaded, NEXT, Program, Ran};

/// Both programs hand the frame on unchanged, and count it under the name, if there is one.
#[track_caller]
fn passes(
    loaded: &mut Loaded,
    what: &str,
    frame: &[u8],
    counted: Option<&'static str>,
) -> Result<()> {
    let expected = Ran {
        action: NEXT,
        frame: frame.to_vec(),
        counted: counted.map(|name| (name, 1)).into_iter().collect(),
    };
    let ran = loaded.run(Program::FromWorkload, frame)?;
    assert_eq!(ran, expected, "{what}");
    // Of what can be read, the packets to a pod count none that is of no flow.
    let ran = loaded.run(Program::ToWorkload, frame)?;
    assert_eq!(
        (ran.action, &*ran.frame),
        (NEXT, frame),
        "{what}, on its way in"
    );
    if counted == Some("malformed") {
        assert_eq!(ran.counted, expected.counted, "{what}, on its way in");
    }
    Ok(())
}

/// With a client that may be a backend as well: otherwise nothing but its address is read of what reaches a pod from there.
fn that_reads<A: Family>() -> Result<Loaded> {
    let mut loaded = Loaded::with(&services::<A>())?;
    loaded.mark_backend(&A::pod(100))?;
    Ok(loaded)
}

fn to_vip<A: Family>(l4: L4) -> Frame<A> {
    Frame::new(A::pod(100), A::vip(WEB), l4)
}

fn syn() -> L4 {
    L4::tcp(40_000, 80, TcpFlags::SYN)
}

fn datagram() -> L4 {
    L4::udp(40_000, 53, b"")
}

/// The octets with some after the Ethernet header changed.
fn claims(mut octets: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (at, octet) in changes {
        octets[ETHERNET + at] = *octet;
    }
    octets
}

on_both_families! {
    fn a_packet_cut_at_any_length_goes_on_and_is_counted<A>() -> Result<()> {
        let mut loaded = that_reads::<A>()?;
        let mut with_options = to_vip::<A>(syn());
        if A::OCTETS == 4 {
            with_options.ip.options = vec![1; 40];
        } else {
            with_options.ip.extensions = vec![Extension::Destination(vec![0; 22]); 3];
        }
        for frame in [to_vip::<A>(syn()), to_vip(datagram()), with_options] {
            let octets = frame.build();
            for len in A::SHORTEST..octets.len() {
                passes(&mut loaded, &format!("cut after {len} octets"), &octets[..len], Some("malformed"))?;
            }
        }
        assert!(loaded.flows::<A>()?.is_empty());
        Ok(())
    }

    fn of_a_packet_for_no_service_nothing_but_the_addresses_is_read<A>() -> Result<()> {
        let mut loaded = that_reads::<A>()?;
        let (from, to) = (Program::FromWorkload, Program::ToWorkload);
        for (program, source, destination) in [(from, 100, 9), (to, 9, 100)] {
            let octets = Frame::<A>::new(A::pod(source), A::pod(destination), syn()).build();
            for len in A::SHORTEST..octets.len() {
                let frame = octets[..len].to_vec();
                let ran = loaded.run(program, &frame)?;
                assert_eq!(ran, Ran { action: NEXT, frame, counted: [].into() }, "cut after {len} octets");
            }
        }
        Ok(())
    }

    fn another_version_goes_on_and_is_counted<A>() -> Result<()> {
        let mut loaded = that_reads::<A>()?;
        let own = if A::OCTETS == 4 { 4 } else { 6 };
        for version in (0..16u8).filter(|version| *version != own) {
            let octets = to_vip::<A>(syn()).build();
            let first = version << 4 | (octets[ETHERNET] & 0xf);
            passes(&mut loaded, &format!("version {version}"), &claims(octets, &[(0, first)]), Some("malformed"))?;
        }
        Ok(())
    }

    fn a_tcp_header_shorter_than_itself_goes_on_and_is_counted<A>() -> Result<()> {
        let mut loaded = that_reads::<A>()?;
        for words in 0..5u8 {
            let frame = to_vip::<A>(syn());
            let octets = claims(frame.build(), &[(frame.ip_len() + 12, words << 4)]);
            passes(&mut loaded, &format!("data offset {words}"), &octets, Some("malformed"))?;
        }
        Ok(())
    }
}

#[test]
fn ipv4_headers_that_lie_go_on_and_are_counted() -> Result<()> {
    let mut loaded = that_reads::<[u8; 4]>()?;
    let mut check = |what: &str, l4: L4, changes: &[(usize, u8)]| {
        let octets = claims(to_vip::<[u8; 4]>(l4).build(), changes);
        passes(&mut loaded, what, &octets, Some("malformed"))
    };
    for words in 0..5 {
        check(
            "a header length below the least",
            syn(),
            &[(0, 0x40 | words)],
        )?;
    }
    for words in 11..16 {
        check(
            "a header length beyond the frame",
            syn(),
            &[(0, 0x40 | words), (3, 100)],
        )?;
    }
    for len in 1..40 {
        check(
            "a total length without room for TCP",
            syn(),
            &[(2, 0), (3, len)],
        )?;
    }
    for len in 1..28 {
        check(
            "a total length without room for UDP",
            datagram(),
            &[(2, 0), (3, len)],
        )?;
    }
    Ok(())
}

#[test]
fn ipv6_headers_that_lie_go_on_and_are_counted() -> Result<()> {
    let mut loaded = that_reads::<[u8; 16]>()?;
    let mut frame = to_vip::<[u8; 16]>(syn());
    frame.ip.extensions = vec![Extension::Destination(vec![1, 4, 0, 0, 0, 0])];
    let mut check =
        |what: &str, octets: Vec<u8>, counted| passes(&mut loaded, what, &octets, Some(counted));
    for len in 1..28 {
        check(
            "a payload length without room",
            claims(frame.build(), &[(5, len)]),
            "malformed",
        )?;
    }
    for units in 1..=u8::MAX {
        check(
            "an extension header beyond the payload",
            claims(frame.build(), &[(41, units)]),
            "malformed",
        )?;
    }
    frame.ip.extensions = vec![Extension::Destination(vec![0; 518])];
    check(
        "520 octets of extension headers",
        frame.build(),
        "malformed",
    )?;
    frame.ip.extensions = vec![Extension::Destination(vec![1, 4, 0, 0, 0, 0]); 9];
    check("nine extension headers", frame.build(), "unknown-protocol")?;
    frame.ip.extensions = vec![Extension::HopByHop(vec![0; 6]); 8];
    frame.l4 = L4::Other {
        protocol: 0,
        payload: vec![0; 600],
    };
    check(
        "a chain of hop-by-hop headers without an end",
        frame.build(),
        "unknown-protocol",
    )?;
    Ok(())
}

#[test]
fn lengths_of_zero_say_nothing_and_the_packet_is_balanced() -> Result<()> {
    let mut loaded = that_reads::<[u8; 4]>()?;
    let octets = claims(to_vip::<[u8; 4]>(syn()).build(), &[(2, 0), (3, 0)]);
    assert_eq!(
        loaded.run(Program::FromWorkload, &octets)?.counted["new-flow"],
        1
    );

    let mut loaded = that_reads::<[u8; 16]>()?;
    let octets = claims(to_vip::<[u8; 16]>(syn()).build(), &[(4, 0), (5, 0)]);
    assert_eq!(
        loaded.run(Program::FromWorkload, &octets)?.counted["new-flow"],
        1
    );
    Ok(())
}
