//! One packet, one program: what comes out, with which action, counted under which name.

use std::collections::BTreeMap;

use anyhow::Result;
use lb_common::packet::TcpFlags;
use lb_common::packet::sctp::ChunkType;
use lb_common::testing::{Extension, Frame, L4, Part};

use crate::family::{BROKEN, ELSEWHERE, EMPTY, Family, WEB, on_both_families, services};
use crate::loaded::{DROP, Loaded, NEXT, Program, REDIRECT, Ran};

/// What a program must make of a frame.
struct Fixture {
    description: &'static str,
    program: Program,
    input: Vec<u8>,
    action: i32,
    output: Vec<u8>,
    /// The one counter that goes up, if any does.
    counted: Option<&'static str>,
}

on_both_families! {
    fn each_fixture_comes_out_as_described<A>() -> Result<()> {
        let fixtures = [forwarded::<A>(), refused::<A>(), dropped::<A>(), passed::<A>()];
        // Each starts without flows, so that none depends on its place in the table.
        let mut loaded = Loaded::with(&services::<A>())?;
        // Of what comes from a pod that is no backend's nothing else would be read.
        loaded.mark_backend(&A::pod(100))?;
        for fixture in fixtures.into_iter().flatten() {
            let expected = Ran {
                action: fixture.action,
                frame: fixture.output,
                counted: fixture.counted.map(|name| (name, 1)).into_iter().collect::<BTreeMap<_, _>>(),
            };
            loaded.forget_flows::<A>()?;
            let ran = loaded.run(fixture.program, &fixture.input)?;
            assert_eq!(ran, expected, "{}", fixture.description);
        }
        Ok(())
    }
}

fn to_vip<A: Family>(vip: u8, l4: L4) -> Frame<A> {
    Frame::new(A::pod(100), A::vip(vip), l4)
}

fn syn() -> L4 {
    L4::tcp(40_000, 80, TcpFlags::SYN)
}

fn question() -> L4 {
    L4::udp(40_000, 53, b"odd")
}

fn sctp(chunk: u8) -> L4 {
    L4::sctp(40_000, 132, chunk)
}

/// The frame with IPv4 options or IPv6 extension headers.
fn with_options<A: Family>(mut frame: Frame<A>) -> Frame<A> {
    if A::OCTETS == 4 {
        frame.ip.options = vec![0x94, 4, 0, 0, 1, 1, 1, 0];
    } else {
        frame.ip.extensions = vec![
            Extension::HopByHop(vec![5, 2, 0, 0, 1, 0]),
            Extension::Authentication(vec![0; 22]),
            Extension::Destination(vec![1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ];
    }
    frame
}

fn part<A: Family>(mut frame: Frame<A>, offset: u16, more: bool) -> Frame<A> {
    frame.ip.part = Some(Part {
        // Two datagrams: the first fragments are not those of the later ones.
        identification: 1 + u32::from(offset != 0),
        offset,
        more,
    });
    frame
}

/// A fragment of a datagram to a VIP, the first of which has not come.
fn later_fragment<A: Family>(more: bool) -> Vec<u8> {
    part(to_vip::<A>(WEB, question()), 1480, more).build()
}

/// Packets to VIP 10 go to pod 1, with a new port.
fn forwarded<A: Family>() -> Vec<Fixture> {
    let row = |description, frame: Frame<A>, port| Fixture {
        description,
        program: Program::FromWorkload,
        input: frame.build(),
        action: NEXT,
        output: frame.with_destination(A::pod(1), port).build(),
        counted: Some("new-flow"),
    };
    let tcp = |flags, options: &[u8], payload: &[u8]| L4::Tcp {
        source: 40_000,
        destination: 80,
        flags,
        sequence: 0xffff_fff0,
        options: options.to_vec(),
        payload: payload.to_vec(),
    };
    let unsummed = L4::Udp {
        source: 40_000,
        destination: 53,
        checksum: false,
        payload: vec![1, 2, 3],
    };
    // Data that is the checksum of the rest brings the backend's checksum to zero, which is sent as all ones.
    let zero = |payload: &[u8]| to_vip::<A>(WEB, L4::udp(40_000, 53, payload));
    let rest = zero(&[0, 0]).with_destination(A::pod(1), 5353).build();
    let checksum: Vec<u8> = rest[rest.len() - 4..rest.len() - 2].to_vec();
    let data = L4::Sctp {
        source: 40_000,
        destination: 132,
        tag: 7,
        chunk: ChunkType::DATA,
        value: vec![7; 1400],
    };
    let padded = {
        let mut fixture = row("padding of the link", to_vip(WEB, syn()), 8080);
        fixture.input.resize(80, 0xee);
        fixture.output.resize(80, 0xee);
        fixture
    };
    vec![
        row("the SYN of a connection", to_vip(WEB, syn()), 8080),
        row(
            "TCP options, data of odd length",
            to_vip(WEB, tcp(0x18, &[1; 40], b"odd")),
            8080,
        ),
        row(
            "a segment of a connection that nobody knows",
            to_vip(WEB, tcp(0x10, &[], b"")),
            8080,
        ),
        row(
            "a reset of a connection that nobody knows",
            to_vip(WEB, tcp(0x04, &[], b"")),
            8080,
        ),
        row("a datagram", to_vip(WEB, question()), 5353),
        row("a datagram without a checksum", to_vip(WEB, unsummed), 5353),
        row("a checksum that becomes zero", zero(&checksum), 5353),
        row("IP options and TCP", with_options(to_vip(WEB, syn())), 8080),
        row(
            "IP options and UDP",
            with_options(to_vip(WEB, question())),
            5353,
        ),
        row(
            "an atomic fragment",
            part(to_vip(WEB, question()), 0, false),
            5353,
        ),
        row(
            "S-33: the first fragment of a datagram",
            part(to_vip(WEB, question()), 0, true),
            5353,
        ),
        row(
            "S-33: the first fragment of a segment, after options",
            part(with_options(to_vip(WEB, syn())), 0, true),
            8080,
        ),
        row(
            "1400 octets of data",
            to_vip(
                WEB,
                tcp(0x18, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], &[7; 1400]),
            ),
            8080,
        ),
        row(
            "the INIT of an association",
            to_vip(WEB, sctp(ChunkType::INIT)),
            8132,
        ),
        row(
            "a COOKIE ECHO of an association that nobody knows, IP options",
            with_options(to_vip(WEB, sctp(ChunkType::COOKIE_ECHO))),
            8132,
        ),
        row(
            "an ABORT of an association that nobody knows",
            to_vip(WEB, sctp(ChunkType::ABORT)),
            8132,
        ),
        row(
            "data of an association, 1400 octets",
            to_vip(WEB, data),
            8132,
        ),
        padded,
    ]
}

/// Packets that are answered: by a reset where they open a connection over IPv6, by port unreachable else.
fn refused<A: Family>() -> Vec<Fixture> {
    let row = |description, frame: Frame<A>, counted| Fixture {
        description,
        program: Program::FromWorkload,
        input: frame.build(),
        action: REDIRECT,
        output: frame.refusal(),
        counted: Some(counted),
    };
    let long = L4::Tcp {
        source: 40_000,
        destination: 80,
        flags: 0x18,
        sequence: 1,
        options: vec![1; 12],
        payload: vec![7; 1400],
    };
    let fast_open = L4::Tcp {
        source: 40_000,
        destination: 80,
        flags: TcpFlags::SYN,
        sequence: u32::MAX,
        options: vec![2, 4, 5, 160, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1],
        payload: b"odd".to_vec(),
    };
    vec![
        row("S-30 a: no endpoint", to_vip(EMPTY, syn()), "no-endpoint"),
        row(
            "S-30 c: the first fragment of a datagram to an unknown port",
            part(to_vip(WEB, L4::udp(40_000, 81, &[7; 100])), 0, true),
            "unknown-port",
        ),
        row(
            "S-30 a: the first fragment of a segment",
            part(to_vip(EMPTY, syn()), 0, true),
            "no-endpoint",
        ),
        row(
            "S-30 a: no endpoint, data and options on the SYN",
            to_vip(EMPTY, fast_open),
            "no-endpoint",
        ),
        row(
            "S-30 a: no endpoint, much data",
            to_vip(EMPTY, long),
            "no-endpoint",
        ),
        row(
            "S-30 a: no endpoint, IP options",
            with_options(to_vip(EMPTY, syn())),
            "no-endpoint",
        ),
        row(
            "S-30 a: no endpoint, IP options, a segment that opens nothing",
            with_options(to_vip(EMPTY, L4::tcp(40_000, 80, TcpFlags::ACK))),
            "no-endpoint",
        ),
        row(
            "S-30 c: unknown port, UDP",
            to_vip(EMPTY, question()),
            "unknown-port",
        ),
        row(
            "S-30 c: unknown port, TCP",
            to_vip(WEB, L4::tcp(40_000, 81, 2)),
            "unknown-port",
        ),
        row(
            "S-30 c: port of another protocol",
            to_vip(WEB, L4::udp(40_000, 80, b"")),
            "unknown-port",
        ),
        row(
            "S-30 a: no endpoint, INIT",
            to_vip(EMPTY, sctp(ChunkType::INIT)),
            "no-endpoint",
        ),
        row(
            "S-30 a: no endpoint, IP options, a chunk that opens nothing",
            with_options(to_vip(EMPTY, sctp(ChunkType::COOKIE_ECHO))),
            "no-endpoint",
        ),
        row(
            "S-30 c: unknown port, INIT",
            to_vip(WEB, L4::sctp(40_000, 80, ChunkType::INIT)),
            "unknown-port",
        ),
        row(
            "S-30 c: unknown port, IP options, UDP",
            with_options(to_vip(WEB, L4::udp(40_000, 81, b"odd"))),
            "unknown-port",
        ),
    ]
}

fn dropped<A: Family>() -> Vec<Fixture> {
    let row = |description, frame: Frame<A>, counted| Fixture {
        description,
        program: Program::FromWorkload,
        input: frame.build(),
        action: DROP,
        output: frame.build(),
        counted: Some(counted),
    };
    vec![
        row(
            "S-33: a later fragment, the first of which has not come",
            part(to_vip(WEB, question()), 1480, true),
            "fragment-held",
        ),
        row(
            "S-33: the last fragment, the first of which has not come",
            part(to_vip(WEB, question()), 1480, false),
            "fragment-held",
        ),
        row(
            "S-33: the first fragment of an SCTP packet whose port would change",
            part(to_vip(WEB, sctp(ChunkType::INIT)), 0, true),
            "sctp-checksum",
        ),
        row(
            "S-33: a later fragment of an SCTP packet, the first of which has not come",
            part(to_vip(WEB, sctp(ChunkType::DATA)), 1480, false),
            "fragment-held",
        ),
        row(
            "S-30 b: endpoints elsewhere only",
            to_vip(ELSEWHERE, syn()),
            "no-local-endpoint",
        ),
        row(
            "slots without a backend",
            to_vip(BROKEN, syn()),
            "backend-missing",
        ),
    ]
}

fn passed<A: Family>() -> Vec<Fixture> {
    let row = |description, program, input: Vec<u8>, counted| Fixture {
        description,
        program,
        output: input.clone(),
        input,
        action: NEXT,
        counted,
    };
    let between_pods = |l4| Frame::<A>::new(A::pod(100), A::pod(1), l4).build();
    let gre = L4::Other {
        protocol: 47,
        payload: vec![0; 20],
    };
    let sctp = || sctp(ChunkType::INIT);
    let mut arp = vec![0xff; 12];
    arp.extend([0x08, 0x06]);
    arp.extend([0; 28]);
    let mut tagged = to_vip::<A>(WEB, syn()).build();
    tagged.splice(12..12, [0x81, 0x00, 0, 5]);
    let (from, to) = (Program::FromWorkload, Program::ToWorkload);
    vec![
        row(
            "pod to pod, TCP",
            from,
            between_pods(L4::tcp(40_000, 8080, 2)),
            None,
        ),
        row("pod to pod, UDP", from, between_pods(question()), None),
        row("pod to pod, SCTP", from, between_pods(sctp()), None),
        row("pod to pod, GRE", from, between_pods(gre.clone()), None),
        row(
            "pod to pod, TCP, on its way in",
            to,
            between_pods(L4::tcp(40_000, 8080, 2)),
            None,
        ),
        row(
            "pod to pod, SCTP, on its way in",
            to,
            between_pods(sctp()),
            None,
        ),
        row("ARP", from, arp.clone(), None),
        row("ARP, on its way in", to, arp, None),
        row("a VLAN tag", from, tagged, None),
        row(
            "GRE to a VIP",
            from,
            to_vip::<A>(WEB, gre).build(),
            Some("unknown-protocol"),
        ),
        Fixture {
            action: DROP,
            ..row(
                "S-33: a later fragment, on its way in, the first of which has not come",
                to,
                later_fragment::<A>(false),
                Some("fragment-held"),
            )
        },
    ]
}
