//! The loaded programs and the pipeline over maps in memory make the same of the same octets, packet after packet.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use lb_common::addr::Protocol;
use lb_common::affinity::{Affinity, AffinityKey};
use lb_common::conntrack::{ConntrackKey, Flow};
use lb_common::packet::{self, ETHERNET};
use lb_common::pipeline::Action;
use lb_common::reason::Reason;
use lb_common::testing::{Frame, MemoryDataplane, Random, refuse};

use crate::family::{Family, on_both_families};
use crate::loaded::{DROP, Loaded, NEXT, Program, REDIRECT, Ran};

/// Packets of each family.
const PACKETS: usize = 6_000;
/// Packets after which endpoints change.
const UNTIL_CHANGE: usize = 500;

/// Four service ports, two of which share their endpoints and two of which have session affinity, and clients that are endpoints as well.
struct World<A> {
    dp: MemoryDataplane<A>,
    clients: Vec<(A, u16)>,
    backends: Vec<(A, u16)>,
    destinations: Vec<(A, u16)>,
}

impl<A: Family> World<A> {
    fn new() -> Self {
        let mut dp = MemoryDataplane::new();
        dp.flows.capacity = usize::MAX;
        let ends = |addresses: &[A], ports: &[u16]| {
            let pair = |address: &A| {
                ports
                    .iter()
                    .map(|port| (*address, *port))
                    .collect::<Vec<_>>()
            };
            addresses.iter().flat_map(pair).collect::<Vec<_>>()
        };
        let pods: Vec<A> = (1..=3).map(A::pod).collect();
        let mut destinations = ends(&[A::vip(10), A::vip(11)], &[80, 80, 53, 81]);
        destinations.extend([(A::vip(12), 80), (A::pod(1), 8080), (A::pod(9), 53)]);
        let mut world = Self {
            dp,
            clients: ends(
                &[A::pod(1), A::pod(2), A::pod(100)],
                &[40_000, 40_001, 40_002],
            ),
            backends: ends(&pods, &[8080, 5353]),
            destinations,
        };
        // The answers of a pod to itself go to the VIP at the client's port.
        world
            .destinations
            .extend(ends(&[A::vip(10)], &[40_000, 40_001]));
        world.serve([3, 3, 2, 0]);
        world
    }

    /// Gives each service port so many endpoints.
    fn serve(&mut self, pods: [u8; 4]) {
        let endpoints = |n, port| (1..=n).map(|pod| (A::pod(pod), port)).collect::<Vec<_>>();
        let dp = &mut self.dp;
        // One range each, whatever was there: the slots of both sides must be the same.
        dp.slots.clear();
        dp.serve(1, A::vip(10), 80, Protocol::Tcp, &endpoints(pods[0], 8080));
        dp.serve(2, A::vip(10), 53, Protocol::Udp, &endpoints(pods[1], 5353));
        dp.serve(3, A::vip(11), 80, Protocol::Tcp, &endpoints(pods[2], 8080));
        dp.serve(4, A::vip(12), 80, Protocol::Tcp, &endpoints(pods[3], 8080));
        // Longer than the test, in which one of the two clocks stands still.
        dp.set_affinity_seconds(2, 86_400);
        dp.set_affinity_seconds(3, 86_400);
    }

    /// A packet and the program that gets it: from a client, or from a backend to a client.
    fn packet(&self, random: &mut Random) -> (Program, Vec<u8>) {
        let everybody = [&self.clients[..], &self.backends].concat();
        let (program, frame) = if random.one_in(3) {
            (Program::ToWorkload, random.frame(&everybody, &everybody))
        } else {
            (
                Program::FromWorkload,
                random.frame(&everybody, &self.destinations),
            )
        };
        let (program, frame) = if random.one_in(6) {
            self.error(random)
        } else {
            (program, frame)
        };
        let whole = if random.one_in(16) {
            frame.build_with_partial_checksum()
        } else {
            frame.build()
        };
        let mut octets = whole.clone();
        if random.one_in(4) {
            for _ in 0..=random.below(3) {
                random.mutate(&mut octets);
            }
        }
        if octets.len() < A::SHORTEST {
            octets.extend(&whole[octets.len()..A::SHORTEST]);
        }
        (program, octets)
    }

    /// An ICMP error, or another message of ICMP that looks like one: towards a client about what it sent, or from it about
    /// what it got.
    fn error(&self, random: &mut Random) -> (Program, Frame<A>) {
        let everybody = [&self.clients[..], &self.backends].concat();
        let (program, about) = if random.one_in(2) {
            let about = random.frame(&everybody, &self.backends);
            (Program::ToWorkload, about)
        } else {
            let about = random.frame(&self.destinations, &everybody);
            (Program::FromWorkload, about)
        };
        let (router, kind) = (A::pod(200), random.pick(&[1, 2, 3, 3, 4, 11, 12, 8]));
        let by = random.pick(&[about.ip.destination, about.ip.destination, router]);
        let len = random.pick(&[28, 28, 48, 60, 68, 200]);
        (program, about.icmp_error(by, [kind, 0], len))
    }

    /// What the pipeline in memory makes of a frame, as the programs report it.
    fn run(&self, program: Program, frame: &[u8]) -> Ran {
        let mut octets = frame.to_vec();
        let verdict = match program {
            Program::FromWorkload => self.dp.send(&mut octets),
            Program::ToWorkload => self.dp.receive(&mut octets),
        };
        let mut counted = BTreeMap::new();
        if !matches!(verdict.reason, Reason::NotIp | Reason::NotForService) {
            counted.insert(verdict.reason.name(), 1);
        }
        let action = match verdict.action {
            Action::Pass | Action::Relate | Action::Rewrite => NEXT,
            Action::Drop => DROP,
            Action::Reject => {
                let answer = packet::parse::<A>(frame, ETHERNET)
                    .ok()
                    .and_then(|packet| refuse(frame, &packet));
                if let Some(answer) = answer {
                    octets = answer;
                    REDIRECT
                } else {
                    counted.insert(Reason::RejectFailed.name(), 1);
                    DROP
                }
            }
        };
        Ran {
            action,
            frame: octets,
            counted,
        }
    }
}

/// The flows without their stamps, for the clocks differ.
fn unstamped<A: Family>(
    flows: &HashMap<ConntrackKey<A>, Flow<A>>,
) -> HashMap<ConntrackKey<A>, Flow<A>> {
    let unstamp = |(key, flow): (&ConntrackKey<A>, &Flow<A>)| {
        let mut flow = *flow;
        flow.see(flow.state(), 0);
        (*key, flow)
    };
    flows.iter().map(unstamp).collect()
}

fn unstamped_affinity<A: Family>(
    rows: &HashMap<AffinityKey<A>, Affinity>,
) -> HashMap<AffinityKey<A>, Affinity> {
    let unstamp = |(key, row): (&AffinityKey<A>, &Affinity)| (*key, Affinity { last: 0, ..*row });
    rows.iter().map(unstamp).collect()
}

fn agree<A: Family>(seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut world = World::<A>::new();
    let mut loaded = Loaded::with(&world.dp)?;
    let mut seen = BTreeMap::<&str, u64>::new();
    for number in 0..PACKETS {
        let (program, frame) = world.packet(&mut random);
        let expected = world.run(program, &frame);
        let ran = loaded
            .run(program, &frame)
            .with_context(|| format!("seed {seed}, packet {number}: {frame:02x?}"))?;
        assert_eq!(
            ran,
            expected,
            "left the loaded {}, right the pipeline in memory; seed {seed}, packet {number}: {frame:02x?}",
            program.name()
        );
        for name in ran.counted.keys() {
            *seen.entry(name).or_default() += 1;
        }
        if number % UNTIL_CHANGE == UNTIL_CHANGE - 1 {
            assert_eq!(
                unstamped(&loaded.flows::<A>()?),
                unstamped(&world.dp.flows.entries.borrow()),
                "flows; seed {seed}, packet {number}"
            );
            assert_eq!(
                unstamped_affinity(&loaded.affinity::<A>()?),
                unstamped_affinity(&world.dp.affinity.borrow()),
                "affinity; seed {seed}, packet {number}"
            );
            world.serve([0; 4].map(|_| random.below(4) as u8));
            loaded.fill(&world.dp)?;
        }
    }
    println!("{PACKETS} packets of seed {seed}: {seen:?}");
    for name in [
        "unknown-protocol",
        "malformed",
        "fragment",
        "fragment-without-first",
        "icmp-error",
        "new-flow",
        "forward",
        "reply",
        "reselected",
        "no-endpoint",
        "unknown-port",
        "tuple-clash",
    ] {
        assert!(
            seen.contains_key(name),
            "no packet was counted under {name}: {seen:?}"
        );
    }
    Ok(())
}

on_both_families! {
    fn the_loaded_programs_do_what_the_pipeline_in_memory_does<A>() -> Result<()> {
        agree::<A>(20_260_729)
    }

    fn they_agree_on_another_seed<A>() -> Result<()> {
        agree::<A>(1)
    }
}
