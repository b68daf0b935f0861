//! The agent's programs with maps of their own, the flows in them, and the packets that are run. How these are measured is `measure`'s
//! business, and how programs are loaded `loaded`'s.

mod loaded;
mod measure;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use lb_common::reason::Reason;
use lb_common::testing::Random;
use lb_userspace::datapath::PinPaths;
use lb_userspace::maps::Limits;
use lb_userspace::maps::bpf::{Access, BpfMaps, LocalPodMaps};

use super::Options;
use super::case::{Case, Direction, FULL, Flows, Packets, REDIRECT, ROOMY, Row, USUAL};
use super::counts::{Counts, Tables};
use super::feeder::Feeder;
use super::frames::{self, Family, OPENING};
use super::operations::Counted;
use super::{pods, services};
use crate::bpf::program::Program;
use loaded::{Agent, Loaded};

/// Most established flows of a case.
const FLOWS: u32 = 128_000;
/// Flows that there is room for in a table that is to be full.
const ROOM: u32 = 262_144;
/// New flows at a time while they are established, or a table is filled.
const BATCH: u32 = 16_000;

/// What runs.
pub struct World {
    services: u32,
    tables: Tables,
    cases: Vec<(Case, Family)>,
    /// What gives the packets of a case, by its number, where they are the same in each round.
    feeders: Vec<Option<Rc<Feeder>>>,
    /// How many clients have been one, by family.
    clients: [u32; 2],
    random: Random,
    agent: Agent,
    loaded: Loaded,
    maps: BpfMaps,
}

impl World {
    /// With tables of the agent's default size, and the flows established that the cases want.
    ///
    /// # Errors
    /// If the kernel refuses a program, a map or a run, or flows do not come to be.
    pub fn usual(bpffs: &Path, services: u32) -> Result<Self> {
        let folder = bpffs.join(format!("usual-{services}"));
        let flows = Limits::default().flows;
        let mut world = Self::new(&folder, services, flows, USUAL, Tables::Usual)?;
        for family in Family::ALL {
            world.establish(family, FLOWS)?;
        }
        Ok(world)
    }

    /// With the redirect path on, and a flow of each family to a pod behind this device.
    ///
    /// # Errors
    /// As for [`World::usual`], and if the kernel can't hand packets over.
    pub fn redirecting(bpffs: &Path, services: u32, device: u32) -> Result<Self> {
        let folder = bpffs.join(format!("redirecting-{services}"));
        let flows = Limits::default().flows;
        let mut world = Self::new(&folder, services, flows, REDIRECT, Tables::Usual)?;
        for family in Family::ALL {
            world.establish(family, 1)?;
        }
        let mut rows = LocalPodMaps::open(&world.agent.paths.layout(), Access::Write)?;
        let vips = Family::ALL.map(|family| world.vip(family, 0));
        let pods = vips.into_iter().flat_map(|vip| pods::rows(vip, device));
        rows.change(&BTreeMap::new(), &pods.collect())?;
        world.agent.hands_over = true;
        world.load_again()?;
        Ok(world)
    }

    /// The same without the table of flows, as on kernels and processors that it is not for: LRU maps have all of them.
    ///
    /// # Errors
    /// As for [`World::usual`].
    pub fn lru(bpffs: &Path, services: u32) -> Result<Self> {
        let folder = bpffs.join(format!("lru-{services}"));
        let mut world = Self::new(&folder, services, 0, USUAL, Tables::Lru)?;
        for family in Family::ALL {
            world.establish(family, FLOWS)?;
        }
        Ok(world)
    }

    /// With room for all flows that begin.
    ///
    /// # Errors
    /// As for [`World::usual`].
    pub fn roomy(bpffs: &Path, services: u32, options: &Options) -> Result<Self> {
        let folder = bpffs.join(format!("roomy-{services}"));
        // In every round, in a loop and fresh. At more than half of a load, some buckets are full.
        let room = 2 * (2 * options.rounds * options.samples);
        Self::new(&folder, services, room, ROOMY, Tables::Roomy)
    }

    /// With tables for new flows that are full.
    ///
    /// # Errors
    /// As for [`World::usual`].
    pub fn full(bpffs: &Path, services: u32) -> Result<Self> {
        let mut world = Self::new(&bpffs.join("full"), services, ROOM, FULL, Tables::Full)?;
        for family in Family::ALL {
            world.fill(family)?;
        }
        Ok(world)
    }

    fn new(
        folder: &Path,
        services: u32,
        flows: u32,
        cases: &[Case],
        tables: Tables,
    ) -> Result<Self> {
        fs::create_dir(folder).with_context(|| folder.display().to_string())?;
        let default = Limits::default();
        let rows = 2 * services + 1;
        let agent = Agent {
            paths: PinPaths::new(folder),
            limits: Limits {
                frontends: default.frontends.max(rows),
                backends: default.backends.max(2 * rows),
                slots: default.slots.max(2 * rows),
                flows,
                ..default
            },
            redirect: cases.iter().any(|case| case.packets == Packets::Redirected),
            hands_over: false,
        };
        let loaded = agent.load()?;
        let mut maps = BpfMaps::open(&agent.paths.layout(), Access::Write)?;
        services::write(&mut maps, services)?;
        let of_families = |case: &Case| Family::ALL.map(|family| (*case, family));
        let cases: Vec<_> = cases.iter().flat_map(of_families).collect();
        Ok(Self {
            services,
            tables,
            feeders: cases.iter().map(|_| None).collect(),
            cases,
            clients: [0; 2],
            random: Random::new(1),
            agent,
            loaded,
            maps,
        })
    }

    /// Loads the programs anew, for the same maps. The kernel puts them elsewhere in memory, where the same instructions may take
    /// another time.
    ///
    /// # Errors
    /// If the kernel refuses one.
    pub fn load_again(&mut self) -> Result<()> {
        self.loaded = self.agent.load()?;
        Ok(())
    }

    /// Instructions that the verifier walked, by program.
    pub fn verified(&self) -> Vec<(&'static str, Option<u32>)> {
        let programs = self.loaded.programs().all();
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
        let programs = self.loaded.programs();
        let row = |(case, family): &(Case, Family)| Row {
            goal: if self.tables == Tables::Lru {
                "LRU"
            } else {
                case.goal
            },
            what: case.what,
            family: family.name(),
            services: self.services,
            limits: case.limits.filter(|_| self.tables != Tables::Lru),
            operations: Counted::of(case.packets, self.vip(*family, 0)),
            verified: match case.packets.direction() {
                Direction::FromPod => programs.from_workload.verified_instructions,
                Direction::ToPod => programs.to_workload.verified_instructions,
            },
            nanoseconds: Vec::new(),
        };
        self.cases.iter().map(row).collect()
    }

    /// The next clients, so many, open connections, are answered, and go on.
    fn establish(&mut self, family: Family, count: u32) -> Result<()> {
        for first in (0..count).step_by(BATCH as usize) {
            let clients = self.next_clients(family, BATCH.min(count - first));
            let reasons = [Reason::NewFlow, Reason::Reply, Reason::Forward];
            for ((direction, flags), reason) in OPENING.into_iter().zip(reasons) {
                let vip = |client| self.vip(family, client);
                let frame = |client| frames::segment(client, vip(client), flags, direction);
                let feeder = Feeder::new(clients.clone().map(frame))?;
                self.run_all(&feeder, direction, reason)?;
            }
        }
        Ok(())
    }

    /// Clients begin flows until nearly each of them displaces another one.
    fn fill(&mut self, family: Family) -> Result<()> {
        // Far more than there is room for.
        for _ in 0..4 * ROOM / BATCH {
            let clients = self.next_clients(family, BATCH);
            let packets = Packets::Loop(Flows::New);
            let feeder = Feeder::new(clients.map(|client| self.packet(packets, family, client)))?;
            let counted = self.run_all(&feeder, Direction::FromPod, Reason::NewFlow)?;
            if counted.show(self.tables, BATCH) {
                return Ok(());
            }
        }
        bail!(
            "the tables of {} flows do not get full by {} of them",
            family.name(),
            4 * ROOM
        )
    }

    /// Runs every packet once, each of which must be counted with this reason. Returns what was counted.
    fn run_all(&self, feeder: &Feeder, direction: Direction, reason: Reason) -> Result<Counts> {
        let before = Counts::of(&self.maps)?;
        feeder
            .run(self.program(direction), feeder.packets())?
            .goes_on()?;
        let counted = Counts::of(&self.maps)?.since(&before);
        counted.ensure_all(feeder.packets(), &[reason])?;
        Ok(counted)
    }

    fn program(&self, direction: Direction) -> &Program {
        match direction {
            Direction::FromPod => &self.loaded.from_pod,
            Direction::ToPod => &self.loaded.to_pod,
        }
    }

    /// Clients that nobody has been yet.
    fn next_clients(&mut self, family: Family, count: u32) -> Range<u32> {
        let next = &mut self.clients[family as usize];
        let first = *next;
        *next += count;
        first..*next
    }

    /// A packet of a case, of this client.
    fn packet(&self, packets: Packets, family: Family, client: u32) -> Vec<u8> {
        frames::packet(packets, client, self.vip(family, client))
    }

    /// Whom a client speaks to: of many Services, another for each.
    fn vip(&self, family: Family, client: u32) -> IpAddr {
        // A step that has no common divisor with any number of Services that is likely.
        let number = u64::from(client) * 7_919 % u64::from(self.services);
        services::vips(number as u32)[family as usize]
    }
}
