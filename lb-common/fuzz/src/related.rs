//! ICMP errors: any octets as one, while the flows that it may be about are known. One that is changed keeps its length, what
//! stands behind it and every checksum that was right, and the reverse change gives it back.

use std::fmt::Debug;

use lb_common::addr::Protocol;
use lb_common::checksum;
use lb_common::conntrack::Direction;
use lb_common::packet::icmp::{self, Quoted};
use lb_common::packet::sctp::ChunkType;
use lb_common::packet::{self, ETHERNET, Packet, Parse, TcpFlags};
use lb_common::rewrite::{self, Related, Rewrite, Side};
use lb_common::testing::crc32c::crc32c;
use lb_common::testing::{Frame, L4, Populated};

use crate::changes::{Changes, Range};
use crate::pipeline::{Family, World, run};
use crate::sums::{self, Sums};

/// What the clients have sent, in this order, before the error comes: to a service over TCP and over UDP, to one with
/// affinity, from a pod that may get its own packets, and to one over SCTP.
pub fn opening<A: Family>() -> Vec<Frame<A>> {
    let to = |client, vip, l4| Frame::new(A::pod(client), A::vip(vip), l4);
    vec![
        to(100, 10, L4::tcp(40_000, 80, TcpFlags::SYN)),
        to(100, 10, L4::udp(40_000, 53, b"question")),
        to(101, 16, L4::udp(40_000, 53, b"question")),
        to(1, 10, L4::tcp(40_001, 80, TcpFlags::SYN)),
        to(100, 10, L4::sctp(40_000, 8080, ChunkType::INIT)),
    ]
}

/// The same flows' packets as their backends get them.
pub fn at_backends<A: Family>(populated: &Populated<A>) -> Vec<Frame<A>> {
    let translated = |frame: Frame<A>| {
        let verdict = populated.dp.send(&mut frame.build());
        let Rewrite { to, other_port, .. } = verdict.rewrite;
        let source = frame.ip.source;
        frame
            .with_destination(to.address, to.port.get())
            .with_source(source, other_port.get())
    };
    opening().into_iter().map(translated).collect()
}

/// Runs any octets after the flows' first packets; the first octet says the direction.
pub fn check(input: &[u8]) {
    let Some((first, frame)) = input.split_first() else {
        return;
    };
    let direction = if first & 1 == 0 {
        Direction::FromClient
    } else {
        Direction::FromBackend
    };
    World::with_fresh(|world| {
        world.open();
        run(world, direction, frame);
    });
}

/// Holds an error that was changed against what it was.
///
/// # Panics
/// If it changed in a way that it must not.
pub fn check_changed<A: Family>(before: &[u8], after: &[u8], error: &Packet<A>) {
    let old = icmp::quoted(before, error).expect("it quotes a packet");
    let now = packet::parse::<A>(after, ETHERNET).expect("it parsed before");
    let new = icmp::quoted(after, &now).expect("it quoted a packet before");

    let ends: Vec<Range> = [old.l3, error.l3]
        .map(|l3| (l3 + A::SOURCE, l3 + A::SOURCE + 2 * A::OCTETS))
        .into();
    let checksums = checksums(error, &old);
    let fields = checksums.iter().map(|at| (*at, at + 2));
    let ports = [(old.l4, old.l4 + 4)];
    let crc = crc_at(&old).map(|at| (at, at + 4));
    let allowed: Vec<Range> = ends
        .into_iter()
        .chain(ports)
        .chain(fields)
        .chain(crc)
        .collect();
    let changes = Changes::new(before, after);
    changes.assert_only(&allowed);
    if error.l4_len != 0 {
        let end = error.l4 + error.l4_len;
        assert!(
            allowed.iter().all(|(_, to)| *to <= end),
            "{allowed:?} beyond {end}"
        );
    }

    assert_eq!(
        (new.l3, new.l4, new.protocol, new.has_checksum),
        (old.l3, old.l4, old.protocol, old.has_checksum)
    );
    Sums::of(after, &now).assert_kept(Sums::of(before, error));
    let header = |frame, quoted: &Quoted<A>| Sums {
        header: sums::header::<A>(frame, quoted.l3, quoted.l4),
        transport: None,
    };
    header(after, &new).assert_kept(header(before, &old));
    if let Some(at) = crc_at(&old) {
        check_crc(&before[at..], &after[at..], &old, &new);
    } else if old.has_checksum {
        assert_eq!(
            sum_of_ends(after, &new),
            sum_of_ends(before, &old),
            "the quoted checksum does not follow the quoted ends"
        );
    }
    check_reverse(before, after, &now, &old, &new);
}

/// Offset of a quoted packet's CRC32c, where it has one that follows.
fn crc_at<A: Parse>(quoted: &Quoted<A>) -> Option<usize> {
    (quoted.has_checksum && quoted.protocol == Protocol::Sctp).then(|| quoted.checksum_at())
}

/// The quoted CRC32c differs as those of two packets that differ in their ports alone: what else is in them makes no difference.
fn check_crc<A: Parse>(before: &[u8], after: &[u8], old: &Quoted<A>, new: &Quoted<A>) {
    let [before, after] = [before, after]
        .map(|octets| u32::from_le_bytes([octets[0], octets[1], octets[2], octets[3]]));
    if before == 0 {
        assert_eq!(after, 0, "a checksum that is left to the device");
        return;
    }
    let of_ports = |quoted: &Quoted<A>| {
        let mut packet = vec![0; quoted.l4_len];
        packet[..2].copy_from_slice(&quoted.source.port.to_network());
        packet[2..4].copy_from_slice(&quoted.destination.port.to_network());
        crc32c(&packet)
    };
    assert_eq!(
        before ^ after,
        of_ports(old) ^ of_ports(new),
        "the quoted CRC32c does not follow the quoted ports"
    );
}

/// Offsets of the Internet checksums in an error.
fn checksums<A: Parse>(error: &Packet<A>, quoted: &Quoted<A>) -> Vec<usize> {
    let mut offsets = vec![error.l4 + 2];
    if let Some(at) = A::HEADER_CHECKSUM {
        offsets.extend([error.l3 + at, quoted.l3 + at]);
    }
    if quoted.has_checksum && crc_at(quoted).is_none() {
        offsets.push(quoted.checksum_at());
    }
    offsets
}

/// The sum of what the quoted transport checksum covers and may change, and of the checksum itself, without the distinction
/// between the two zeros.
fn sum_of_ends<A: Parse>(frame: &[u8], quoted: &Quoted<A>) -> u16 {
    let field = &frame[quoted.checksum_at()..][..2];
    let mut sum = checksum::word([field[0], field[1]]);
    for end in [&quoted.source, &quoted.destination] {
        sum += end.address.sum() + checksum::word(end.port.to_network());
    }
    checksum::fold(sum) % 0xffff
}

/// The reverse change gives the error back.
fn check_reverse<A: Family + Debug>(
    before: &[u8],
    after: &[u8],
    now: &Packet<A>,
    old: &Quoted<A>,
    new: &Quoted<A>,
) {
    // The other end's port may change, its address never does.
    let (side, to, was, other, other_was) = if old.source.address == new.source.address {
        (
            Side::Destination,
            old.destination,
            new.destination,
            old.source,
            new.source,
        )
    } else {
        (
            Side::Source,
            old.source,
            new.source,
            old.destination,
            new.destination,
        )
    };
    let ends = ETHERNET + A::SOURCE..ETHERNET + A::SOURCE + 2 * A::OCTETS;
    let back = Related {
        side,
        to,
        other_port: other.port,
        outer: before[ends.clone()] != after[ends],
    };
    let mut again = after.to_vec();
    rewrite::relate(&mut again[..], now, new, &back).expect("what was read is there");
    let mut checksums = checksums(now, new);
    // Of a change to the same address nothing can be told, not even that there was one.
    if to == was && other == other_was {
        return;
    }
    if old.protocol == Protocol::Udp && !old.has_checksum {
        checksums.retain(|at| *at != old.checksum_at());
    }
    // One in 2^32 has come to be zero by chance, and is taken for one that is left to the device.
    if crc_at(new).is_some_and(|at| after[at..][..4] == [0; 4]) {
        return;
    }
    Changes::new(before, &again).assert_none(&checksums);
}
