//! The agent's programs with maps of their own, the flows in them, and the packets that are run.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use lb_common::packet::TcpFlags;
use lb_common::testing::{Frame, L4, Random};
use lb_userspace::datapath::{Datapath, Loader, PinPaths, object};
use lb_userspace::maps::Limits;
use lb_userspace::maps::bpf::{Access, BpfMaps};

use super::Options;
use super::case::{Case, Direction, FULL, Hot, Packets, ROOMY, Row};
use super::program::Program;
use super::services::{self, PORT};
use crate::numbers::median;

/// Most established flows of a case.
const FLOWS: u32 = 128_000;
/// Ports of a client before the next address is one.
const PORTS: u32 = 28_000;
/// Entries for flows that are not established, where their table is to be full.
const FEW: u32 = 65_536;
/// The action of a packet that goes on.
const NEXT: i32 = -1;

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;

/// What runs.
pub struct World {
    services: u32,
    cases: Vec<(Case, Family)>,
    from_pod: Program,
    to_pod: Program,
    /// How many clients have been one, by family.
    clients: [u32; 2],
    random: Random,
    datapath: Datapath,
}

/// An address family; its number is an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4 = 0,
    V6 = 1,
}

impl Family {
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl World {
    /// With room for all flows, and those established that the cases want.
    ///
    /// # Errors
    /// If the kernel refuses a program, a map or a run.
    pub fn roomy(bpffs: &Path, services: u32) -> Result<Self> {
        let name = format!("roomy-{services}");
        let mut world = Self::new(&bpffs.join(name), services, 1 << 21, ROOMY)?;
        for family in Family::ALL {
            for _ in 0..FLOWS {
                world.establish(family)?;
            }
        }
        Ok(world)
    }

    /// With a table for new flows that is full.
    ///
    /// # Errors
    /// As for [`World::roomy`].
    pub fn full(bpffs: &Path, services: u32) -> Result<Self> {
        let mut world = Self::new(&bpffs.join("full"), services, FEW, FULL)?;
        for family in Family::ALL {
            // Each takes two entries.
            for _ in 0..FEW {
                let frame = world.next_client(family, SYN);
                world.goes_on(Direction::FromPod, &frame)?;
            }
        }
        Ok(world)
    }

    fn new(folder: &Path, services: u32, transient: u32, cases: &[Case]) -> Result<Self> {
        fs::create_dir(folder).with_context(|| folder.display().to_string())?;
        let paths = PinPaths::new(folder);
        let default = Limits::default();
        let rows = 2 * services + 1;
        let datapath = Loader {
            object: object::embedded()?,
            paths: &paths,
            limits: Limits {
                frontends: default.frontends.max(rows),
                backends: default.backends.max(2 * rows),
                slots: default.slots.max(2 * rows),
                conntrack: 1 << 20,
                transient,
                ..default
            },
            sockets: None,
            redirect: false,
        }
        .load()?;
        let mut maps = BpfMaps::open(&paths.layout(), Access::Write)?;
        services::write(&mut maps, services)?;
        let programs = datapath.programs();
        let of_families = |case: &Case| Family::ALL.map(|family| (*case, family));
        Ok(Self {
            services,
            cases: cases.iter().flat_map(of_families).collect(),
            from_pod: Program::of(programs.from_workload.as_fd())?,
            to_pod: Program::of(programs.to_workload.as_fd())?,
            clients: [0; 2],
            random: Random::new(1),
            datapath,
        })
    }

    /// Instructions that the verifier walked, by program.
    pub fn verified(&self) -> Vec<(&'static str, Option<u32>)> {
        let programs = self.datapath.programs().all();
        programs
            .map(|program| (program.name, program.verified_instructions))
            .to_vec()
    }

    /// How many cases there are.
    pub fn cases(&self) -> usize {
        self.cases.len()
    }

    /// A row for each case, without figures.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(case, family): &(Case, Family)| Row {
            goal: case.goal,
            what: case.what,
            family: family.name(),
            services: self.services,
            limits: case.limits,
            nanoseconds: Vec::new(),
        };
        self.cases.iter().map(row).collect()
    }

    /// What a packet of a case costs, in nanoseconds over an empty program, which runs right before and on the same frames.
    ///
    /// # Errors
    /// If the kernel refuses a run, or a packet does not go on.
    pub fn measure(&mut self, case: usize, empty: &Program, options: &Options) -> Result<f64> {
        let (case, family) = self.cases[case];
        match case.packets {
            Packets::Hot(direction, hot) => {
                let frame = self.hot(family, direction, hot);
                // Once before, so that nothing is cold.
                self.goes_on(direction, &frame)?;
                let idle = empty.run(&frame, options.repeat)?;
                let busy = self.program(direction).run(&frame, options.repeat)?;
                ensure!(
                    busy.action == NEXT,
                    "a packet {} does not go on: {busy:?}",
                    case.what
                );
                Ok(f64::from(busy.nanoseconds) - f64::from(idle.nanoseconds))
            }
            Packets::Fresh(flows) => {
                let frames: Vec<_> = (0..options.samples)
                    .map(|_| {
                        let client = self.random.below(flows as usize) as u32;
                        self.to_vip(family, client, ACK)
                    })
                    .collect();
                self.each(&frames, empty)
            }
            Packets::New => {
                let frames: Vec<_> = (0..options.samples)
                    .map(|_| self.next_client(family, SYN))
                    .collect();
                self.each(&frames, empty)
            }
        }
    }

    /// What the frame in the middle costs, each run once.
    fn each(&self, frames: &[Vec<u8>], empty: &Program) -> Result<f64> {
        let mut idle = Vec::with_capacity(frames.len());
        let mut busy = Vec::with_capacity(frames.len());
        for frame in frames {
            idle.push(f64::from(empty.run(frame, 1)?.nanoseconds));
            busy.push(f64::from(self.goes_on(Direction::FromPod, frame)?));
        }
        match (median(&busy), median(&idle)) {
            (Some(busy), Some(idle)) => Ok(busy - idle),
            _ => bail!("no frame was run"),
        }
    }

    /// Runs a frame once, which must go on, and returns the nanoseconds that it took.
    fn goes_on(&self, direction: Direction, frame: &[u8]) -> Result<u32> {
        let ran = self.program(direction).run(frame, 1)?;
        ensure!(ran.action == NEXT, "a packet does not go on: {ran:?}");
        Ok(ran.nanoseconds)
    }

    fn program(&self, direction: Direction) -> &Program {
        match direction {
            Direction::FromPod => &self.from_pod,
            Direction::ToPod => &self.to_pod,
        }
    }

    /// The next client opens a connection, is answered, and goes on.
    fn establish(&mut self, family: Family) -> Result<()> {
        let client = self.clients[family as usize];
        let syn = self.next_client(family, SYN);
        self.goes_on(Direction::FromPod, &syn)?;
        let answer = segment(
            family,
            client,
            self.vip(family, client),
            SYN | ACK,
            Direction::ToPod,
        );
        self.goes_on(Direction::ToPod, &answer)?;
        self.goes_on(Direction::FromPod, &self.to_vip(family, client, ACK))?;
        Ok(())
    }

    fn hot(&self, family: Family, direction: Direction, hot: Hot) -> Vec<u8> {
        let peer = match hot {
            Hot::Established => self.vip(family, 0),
            Hot::Unrelated => pod(family, u32::from(u16::MAX)),
        };
        segment(family, 0, peer, ACK, direction)
    }

    /// A segment of a client that nobody has been yet.
    fn next_client(&mut self, family: Family, flags: u8) -> Vec<u8> {
        let client = self.clients[family as usize];
        self.clients[family as usize] += 1;
        self.to_vip(family, client, flags)
    }

    fn to_vip(&self, family: Family, client: u32, flags: u8) -> Vec<u8> {
        let vip = self.vip(family, client);
        segment(family, client, vip, flags, Direction::FromPod)
    }

    /// Whom a client speaks to: of many Services, another for each.
    fn vip(&self, family: Family, client: u32) -> IpAddr {
        // A step that has no common divisor with any number of Services that is likely.
        let number = u64::from(client) * 7_919 % u64::from(self.services);
        services::vips(number as u32)[family as usize]
    }
}

/// A TCP segment between a client, by its number, and somebody's port.
fn segment(family: Family, client: u32, peer: IpAddr, flags: u8, direction: Direction) -> Vec<u8> {
    let port = 32_768 + (client % PORTS) as u16;
    let l4 = L4::tcp(port, PORT, flags);
    let is_answer = direction == Direction::ToPod;
    match (pod(family, client / PORTS), peer) {
        (IpAddr::V4(pod), IpAddr::V4(peer)) => {
            let frame = Frame::new(pod.octets(), peer.octets(), l4);
            if is_answer { frame.reversed() } else { frame }.build()
        }
        (IpAddr::V6(pod), IpAddr::V6(peer)) => {
            let frame = Frame::new(pod.octets(), peer.octets(), l4);
            if is_answer { frame.reversed() } else { frame }.build()
        }
        (pod, peer) => unreachable!("{pod} and {peer} are of different families"),
    }
}

/// A pod's address.
fn pod(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 244, 0, 1)) + number).into(),
        Family::V6 => {
            let first = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 1);
            Ipv6Addr::from(u128::from(first) + u128::from(number)).into()
        }
    }
}
