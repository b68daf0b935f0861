//! Writes the inputs that each target begins with, from the packet builder's frames: `seeds FOLDER`.

use std::fs;
use std::path::Path;

use lb_common::conntrack::Direction;
use lb_common::packet::sctp::ChunkType;
use lb_common::packet::{Parse, TcpFlags};
use lb_common::testing::{Extension, Frame, L4, Populated};
use lb_common_fuzz::pipeline::Family;
use lb_common_fuzz::related::{at_backends, opening};
use lb_common_fuzz::script::{self, Step};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).expect("usage: seeds FOLDER");
    let folder = Path::new(&folder);
    write::<[u8; 4]>(folder, "v4")?;
    write::<[u8; 16]>(folder, "v6")
}

fn write<A: Family>(folder: &Path, family: &str) -> std::io::Result<()> {
    for (target, inputs) in [
        ("parser", parser::<A>()),
        ("pipeline", pipeline::<A>()),
        ("related", related::<A>()),
    ] {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        for (name, input) in inputs {
            fs::write(folder.join(format!("{family}-{name}")), input)?;
        }
    }
    Ok(())
}

type Inputs = Vec<(&'static str, Vec<u8>)>;

fn with_extensions<A: Parse>(mut frame: Frame<A>) -> Frame<A> {
    if A::OCTETS == 4 {
        frame.ip.options = vec![1; 8];
    } else {
        frame.ip.extensions = vec![
            Extension::HopByHop(vec![0; 6]),
            Extension::Routing(vec![0; 14]),
            Extension::Authentication(vec![0; 10]),
            Extension::Destination(vec![0; 6]),
        ];
    }
    frame
}

/// Unreachable, too big, time exceeded, parameter problem.
fn kinds<A: Parse>() -> [(&'static str, [u8; 2]); 4] {
    let kinds = if A::OCTETS == 4 {
        [[3, 3], [3, 4], [11, 0], [12, 0]]
    } else {
        [[1, 4], [2, 0], [3, 0], [4, 1]]
    };
    let names = [
        "unreachable",
        "too-big",
        "time-exceeded",
        "parameter-problem",
    ];
    std::array::from_fn(|i| (names[i], kinds[i]))
}

fn parser<A: Family>() -> Inputs {
    let frame = |l4| Frame::<A>::new(A::pod(100), A::vip(10), l4);
    let tcp = frame(L4::Tcp {
        source: 40_000,
        destination: 80,
        flags: SYN,
        sequence: 1,
        options: vec![2, 4, 5, 0xb4],
        payload: Vec::new(),
    });
    let udp = frame(L4::udp(40_000, 53, b"question"));
    let sctp = frame(L4::sctp(40_000, 8080, ChunkType::INIT));
    let ping = frame(L4::Other {
        protocol: A::ICMP,
        payload: vec![8, 0, 0, 0, 0, 1, 0, 1],
    });
    let fragments = frame(L4::udp(40_000, 53, &[7; 40])).fragments(7, 24);
    let error = udp.icmp_error(A::pod(200), kinds::<A>()[0].1, 68);
    vec![
        ("tcp", tcp.build()),
        ("tcp-extended", with_extensions(tcp).build()),
        ("sctp", sctp.build()),
        ("sctp-extended", with_extensions(sctp).build()),
        ("udp", udp.build()),
        ("udp-extended", with_extensions(udp).build()),
        ("ping", ping.build()),
        ("first-fragment", fragments[0].build()),
        ("last-fragment", fragments[1].build()),
        ("error", error.build()),
        ("error-extended", with_extensions(error).build()),
    ]
}

/// A datagram whose checksum is computed as zero once it is translated, which is sent as its other form.
fn zero_at_backend<A: Family>(at_client: &Frame<A>, at_backend: &Frame<A>) -> Frame<A> {
    let with = |frame: &Frame<A>, n: u16| {
        let mut frame = frame.clone();
        if let L4::Udp { payload, .. } = &mut frame.l4 {
            *payload = n.to_be_bytes().into();
        }
        frame
    };
    let is_zero = |n: &u16| {
        let octets = with(at_backend, *n).build();
        // Nothing but two octets of data stands behind the checksum.
        octets[octets.len() - 4..][..2] == [0xff, 0xff]
    };
    let n = (0..=u16::MAX).find(is_zero).expect("one of them is");
    with(at_client, n)
}

fn pipeline<A: Family>() -> Inputs {
    use Direction::{FromBackend, FromClient};
    let populated = Populated::<A>::default();
    let frames = opening::<A>();
    let at_backends = at_backends(&populated);
    let (tcp, udp) = (&frames[0], &frames[1]);
    let with = |frame: &Frame<A>, new: u8| {
        let mut frame = frame.clone();
        if let L4::Tcp { flags, .. } = &mut frame.l4 {
            *flags = new;
        }
        frame.build()
    };
    let with_chunk = |frame: &Frame<A>, new: u8| {
        let mut frame = frame.clone();
        if let L4::Sctp { chunk, .. } = &mut frame.l4 {
            *chunk = new;
        }
        frame.build()
    };
    let answer = at_backends[0].reversed();
    let to = |vip, port| Frame::new(A::pod(100), A::vip(vip), L4::tcp(40_000, port, SYN)).build();
    let script = |steps: &[(Direction, Vec<u8>)]| {
        let steps: Vec<_> = steps.iter().map(|(d, f)| Step::Packet(*d, f)).collect();
        script::write(&steps)
    };
    let mut large = [udp.clone(), at_backends[1].reversed()];
    for frame in &mut large {
        if let L4::Udp { payload, .. } = &mut frame.l4 {
            *payload = vec![7; 100];
        }
    }
    let fragments = |frame: &Frame<A>, direction| {
        let fragments = frame.fragments(7, 48);
        fragments
            .iter()
            .map(|f| (direction, f.build()))
            .collect::<Vec<_>>()
    };
    let question = fragments(&large[0], FromClient);
    let in_fragments = [question, fragments(&large[1], FromBackend)].concat();
    vec![
        (
            "connection",
            script(&[
                (FromClient, tcp.build()),
                (FromBackend, with(&answer, SYN | ACK)),
                (FromClient, with(tcp, ACK)),
                (FromClient, with(tcp, TcpFlags::FIN | ACK)),
                (FromBackend, with(&answer, TcpFlags::FIN | ACK)),
                (FromClient, tcp.build()),
                (FromBackend, with(&answer, TcpFlags::RST)),
            ]),
        ),
        (
            "question",
            script(&[
                (FromClient, udp.build()),
                (FromBackend, at_backends[1].reversed().build()),
            ]),
        ),
        (
            "idle",
            script::write(&[
                Step::Packet(FromClient, &udp.build()),
                Step::Wait(130),
                Step::Packet(FromBackend, &at_backends[1].reversed().build()),
                Step::Packet(FromClient, &udp.build()),
            ]),
        ),
        (
            "zero",
            script(&[(FromClient, zero_at_backend(udp, &at_backends[1]).build())]),
        ),
        (
            "association",
            script(&[
                (FromClient, with_chunk(&frames[4], ChunkType::INIT)),
                (
                    FromBackend,
                    with_chunk(&at_backends[4].reversed(), ChunkType::INIT_ACK),
                ),
                (FromClient, with_chunk(&frames[4], ChunkType::DATA)),
                (FromClient, with_chunk(&frames[4], ChunkType::SHUTDOWN)),
                (
                    FromBackend,
                    with_chunk(&at_backends[4].reversed(), ChunkType::SHUTDOWN_COMPLETE),
                ),
            ]),
        ),
        ("fragments", script(&in_fragments)),
        (
            "clash",
            script(&[(FromClient, tcp.build()), (FromClient, to(11, 80))]),
        ),
        (
            "itself",
            script(&[
                (FromClient, frames[3].build()),
                (FromBackend, at_backends[3].build()),
                (FromClient, frames[3].reversed().build()),
            ]),
        ),
        (
            "refused",
            script(&[
                (FromClient, to(12, 80)),
                (FromClient, to(10, 81)),
                (FromClient, to(14, 80)),
                (FromClient, to(15, 80)),
            ]),
        ),
        (
            "error",
            script(&[
                (FromClient, tcp.build()),
                (
                    FromBackend,
                    at_backends[0]
                        .icmp_error(A::pod(200), kinds::<A>()[0].1, 100)
                        .build(),
                ),
            ]),
        ),
    ]
}

fn related<A: Family>() -> Inputs {
    let populated = Populated::<A>::default();
    let mut inputs = Vec::new();
    let pairs: Vec<_> = opening::<A>()
        .into_iter()
        .zip(at_backends(&populated))
        .collect();
    let with = |first: u8, frame: Frame<A>| [&[first][..], &frame.build()].concat();
    for (name, kind) in kinds::<A>() {
        let (_, at_backend) = &pairs[0];
        let by = at_backend.ip.destination;
        inputs.push((name, with(1, at_backend.icmp_error(by, kind, 100))));
    }
    let kind = kinds::<A>()[0].1;
    let names = ["tcp", "udp", "sticky", "itself", "sctp"];
    let back = [
        "tcp-back",
        "udp-back",
        "sticky-back",
        "itself-back",
        "sctp-back",
    ];
    for (i, (at_client, at_backend)) in pairs.iter().enumerate() {
        let router = A::pod(200);
        let short = at_backend.ip_len() + 8;
        let client = at_client.ip.source;
        let about = at_client.reversed();
        inputs.push((
            names[i],
            with(1, at_backend.icmp_error(router, kind, short)),
        ));
        inputs.push((back[i], with(0, about.icmp_error(client, kind, 100))));
    }
    let extended = with_extensions(pairs[1].1.clone()).icmp_error(A::pod(200), kind, 100);
    inputs.push(("extended", with(1, with_extensions(extended))));
    inputs
}
