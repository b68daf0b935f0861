//! The pipeline: any packets, one after the other, through a data plane with services of every shape. A packet that passes or
//! goes nowhere keeps its octets; of one that is rewritten nothing else changes, its checksums stay right, and the reverse
//! rewrite gives it back; every flow can be found from both sides.

use std::cell::RefCell;
use std::fmt::Debug;
use std::hash::Hash;

use lb_common::conntrack::Direction;
use lb_common::frontend::FrontendKey;
use lb_common::packet::{self, ETHERNET, Packet, Transport};
use lb_common::pipeline::{Action, Verdict};
use lb_common::reason::Reason;
use lb_common::rewrite::{self, Rewrite, Side};
use lb_common::testing::{Frame, Numbered, Populated, Refuse, refuse};

use crate::changes::Changes;
use crate::script::{self, Step};
use crate::sums::{self, Sums};
use crate::{IPV4, IPV6, ethertype, related};

/// An address family.
pub trait Family: Refuse + Numbered + Hash + Debug {}
impl Family for [u8; 4] {}
impl Family for [u8; 16] {}

/// Both families' data planes.
pub struct World {
    /// IPv4.
    pub v4: Populated<[u8; 4]>,
    /// IPv6.
    pub v6: Populated<[u8; 16]>,
    /// The octets of [`related::opening`] in both families.
    openings: Vec<Vec<u8>>,
}

impl World {
    fn new() -> Self {
        let v4 = Populated::default();
        let v6 = Populated::new(v4.dp.slots.clone());
        let mut openings = Vec::new();
        openings.extend(related::opening::<[u8; 4]>().iter().map(Frame::build));
        openings.extend(related::opening::<[u8; 16]>().iter().map(Frame::build));
        Self { v4, v6, openings }
    }

    /// Sends the first packets of the flows that an error may be about.
    pub fn open(&self) {
        for frame in &self.openings {
            run(self, Direction::FromClient, frame);
        }
    }

    /// Runs a check in a world in which nothing was learnt yet.
    pub fn with_fresh(check: impl FnOnce(&Self)) {
        // To make one takes longer than to use it.
        thread_local!(static WORLD: RefCell<World> = RefCell::new(World::new()));
        WORLD.with_borrow(|world| {
            forget(&world.v4);
            forget(&world.v6);
            check(world);
        });
    }
}

fn forget<A: Family>(populated: &Populated<A>) {
    let dp = &populated.dp;
    dp.flows.entries.borrow_mut().clear();
    dp.affinity.borrow_mut().clear();
    dp.fragments.borrow_mut().clear();
    dp.held.borrow_mut().clear();
    dp.put_back.borrow_mut().clear();
    dp.now.set(u32::MAX - 100);
}

/// Runs any packets.
pub fn check(input: &[u8]) {
    World::with_fresh(|world| {
        for step in script::read(input) {
            match step {
                Step::Wait(seconds) => {
                    world.v4.dp.advance(seconds);
                    world.v6.dp.advance(seconds);
                }
                Step::Packet(direction, frame) => {
                    run(world, direction, frame);
                    whole(&world.v4);
                    whole(&world.v6);
                }
            }
        }
    });
}

/// Runs one packet, and returns what became of it.
pub fn run(world: &World, direction: Direction, frame: &[u8]) -> Vec<u8> {
    match ethertype(frame) {
        Some(IPV4) => run_in(&world.v4, direction, frame),
        Some(IPV6) => run_in(&world.v6, direction, frame),
        _ => frame.to_vec(),
    }
}

fn run_in<A: Family>(populated: &Populated<A>, direction: Direction, before: &[u8]) -> Vec<u8> {
    let mut after = before.to_vec();
    let verdict = match direction {
        Direction::FromClient => populated.dp.send(&mut after),
        Direction::FromBackend => populated.dp.receive(&mut after),
    };
    let Ok(packet) = packet::parse::<A>(before, ETHERNET) else {
        check_malformed(populated, direction, before, &verdict);
        assert_eq!(before, after, "malformed, and changed");
        return after;
    };
    if verdict.reason == Reason::IcmpError {
        related::check_changed(before, &after, &packet);
        return after;
    }
    match verdict.action {
        Action::Rewrite => check_rewritten(before, &after, &packet, &verdict),
        Action::Pass | Action::Drop | Action::Reject | Action::Hold => {
            assert_eq!(before, after, "{verdict:?}");
        }
        Action::Echo => check_echoed(before, &after, &packet),
        Action::Relate => panic!("{verdict:?} is for the pipeline alone"),
    }
    if verdict.action == Action::Reject {
        check_refused(before, &packet);
    }
    after
}

/// What can't be read passes. Where its addresses alone say that it is for no Service, nobody finds out that it can't be read.
fn check_malformed<A: Family>(
    populated: &Populated<A>,
    direction: Direction,
    frame: &[u8],
    verdict: &Verdict<A>,
) {
    let dp = &populated.dp;
    let addresses = A::glance(frame, ETHERNET);
    let is_a_services = addresses.as_ref().is_none_or(|it| match direction {
        Direction::FromClient => {
            let row = FrontendKey::address_row(it.destination);
            dp.frontends.contains_key(&row)
        }
        Direction::FromBackend => {
            let flows = dp.flows.entries.borrow();
            flows
                .values()
                .any(|flow| flow.backend().address == it.source)
        }
    });
    match (verdict.action, verdict.reason) {
        (Action::Pass, Reason::Malformed) => {}
        (Action::Pass, Reason::NotForService) => assert!(!is_a_services, "{direction:?}"),
        (Action::Drop, Reason::Unallocated) => {
            assert!(!is_a_services && direction == Direction::FromClient);
            assert!(addresses.is_some_and(|it| dp.service_cidrs.contain(&it.destination)));
        }
        other => panic!("{other:?} of what can't be read"),
    }
}

fn check_rewritten<A: Family>(
    before: &[u8],
    after: &[u8],
    packet: &Packet<A>,
    verdict: &Verdict<A>,
) {
    let Rewrite {
        side,
        to,
        other_port,
    } = verdict.rewrite;
    let edits = verdict.rewrite.edits(packet).expect("it has edits");
    let mut allowed = vec![(edits.address_at, edits.address_at + A::OCTETS)];
    let mut checksums = Vec::new();
    checksums.extend(edits.ip_checksum_at);
    let is_sctp = edits.covered_by_crc != 0;
    if edits.has_checksum || is_sctp {
        allowed.push((edits.transport.ports_at, edits.transport.ports_at + 4));
    }
    if is_sctp {
        allowed.push((edits.transport.checksum_at, edits.transport.checksum_at + 4));
    }
    if edits.has_checksum {
        checksums.push(edits.transport.checksum_at);
    }
    allowed.extend(checksums.iter().map(|at| (*at, at + 2)));
    Changes::new(before, after).assert_only(&allowed);

    let now = packet::parse::<A>(after, ETHERNET).expect("it parsed before");
    let mut expected = *packet;
    let address = match side {
        Side::Source => &mut expected.source,
        Side::Destination => &mut expected.destination,
    };
    let old_address = std::mem::replace(address, to.address);
    let (mut old_port, mut old_other) = (to.port, other_port);
    if let Transport::Tcp(both, _) | Transport::Udp(both) | Transport::Sctp(both, _) =
        &mut expected.transport
    {
        let (port, other) = match side {
            Side::Source => (&mut both.source, &mut both.destination),
            Side::Destination => (&mut both.destination, &mut both.source),
        };
        old_port = std::mem::replace(port, to.port);
        old_other = std::mem::replace(other, other_port);
    }
    assert_eq!(now, expected, "{verdict:?}");
    Sums::of(after, &now).assert_kept(Sums::of(before, packet));

    let back = Rewrite {
        side,
        to: lb_common::addr::Endpoint {
            address: old_address,
            port: old_port,
        },
        other_port: old_other,
    };
    let mut again = after.to_vec();
    rewrite::apply(&mut again, &now, &back);
    Changes::new(before, &again).assert_none(&checksums);
}

/// The answer to a ping is the ping with its ends exchanged.
fn check_echoed<A: Family>(before: &[u8], after: &[u8], packet: &Packet<A>) {
    assert_eq!(after[..6], before[6..12]);
    assert_eq!(after[6..12], before[..6]);
    let parsed = packet::parse::<A>(after, ETHERNET).expect("an answer parses");
    assert_eq!(
        (parsed.source, parsed.destination),
        (packet.destination, packet.source)
    );
    assert_eq!(after[parsed.l4], A::ECHO_REPLY);
    assert_eq!(after[parsed.l4 + 4..], before[packet.l4 + 4..]);
    let header = |frame: &[u8]| sums::header::<A>(frame, packet.l3, packet.l4);
    assert!(header(before) != Some(true) || header(after) == Some(true));
}

/// The answer to a refused packet is a packet itself, from its destination to its source.
fn check_refused<A: Family>(refused: &[u8], packet: &Packet<A>) {
    let Some(answer) = refuse(refused, packet) else {
        return;
    };
    assert_eq!(answer[..6], refused[6..12]);
    assert_eq!(answer[6..12], refused[..6]);
    let parsed = packet::parse::<A>(&answer[..], ETHERNET).expect("an answer parses");
    assert_eq!(
        (parsed.source, parsed.destination),
        (packet.destination, packet.source)
    );
    assert_eq!(parsed.l4 + parsed.l4_len, answer.len());
    assert_ne!(
        sums::header::<A>(&answer, parsed.l3, parsed.l4),
        Some(false)
    );
    match parsed.transport {
        Transport::IcmpError => {}
        Transport::Tcp(_, flags) => assert!(flags.rst()),
        _ => panic!("{parsed:?} answers {packet:?}"),
    }
}

/// Each flow is found from both sides, and both say the same.
fn whole<A: Family>(populated: &Populated<A>) {
    assert_eq!(populated.dp.flows.half(), None);
}
