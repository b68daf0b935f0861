//! Two data planes that must agree: that of the loaded programs, and that in memory.
//!
//! Their clocks differ: jiffies go on, the clock in memory stands still. So the programs are told that a second has
//! [`TICKS_PER_SECOND`] ticks, by which the kernel's clock is slower a hundred times or so: nothing ages while packets run.
//! Time passes between them, in [`Learnt::let_pass`], by making everything that was learnt older on both sides.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, Result};
use lb_common::backend::Backend;
use lb_common::conntrack::Direction;
use lb_common::frontend::{Frontend, FrontendKey};
use lb_common::packet::{self, ETHERNET};
use lb_common::pipeline::{Action, Verdict};
use lb_common::reason::Reason;
use lb_common::testing::{Populated, Random, Sent, Traffic, refuse};
use lb_userspace::datapath::Ticks;

use super::tables::Tables;
use crate::family::Family;
use crate::loaded::{DROP, Loaded, NEXT, Program, REDIRECT, Ran};

/// Ticks of a second, on both sides. A day of them is less than the clock's 32 bits.
const TICKS_PER_SECOND: u32 = 40_000;
/// Ticks by which a stamp of the kernel may differ from that in memory: real time went on.
const TOLERANCE: u32 = TICKS_PER_SECOND / 2;
/// Ticks by which the kernel's clock may be behind what user space takes it for: no stamp may lie ahead of it, and to a packet
/// a little older means nothing.
const CAUTION: u32 = TICKS_PER_SECOND / 16;
/// Seconds that pass at once. No sum of a few of them is close to an age on which something depends: 30, 120, 170 seconds, a
/// day.
const PASSING: [u32; 8] = [0, 0, 0, 0, 50, 50, 100, 30_000];

/// A packet as a program gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The program.
    pub program: Program,
    /// The frame.
    pub octets: Vec<u8>,
    /// Whether a device has summed it up, as it may a packet that comes from another node.
    pub summed: bool,
}

/// One family's data plane in memory, and where its packets come from.
struct Side<A> {
    populated: Populated<A>,
    traffic: Traffic<A>,
    /// The packet on its way, if it is unchanged.
    sent: Option<Sent<A>>,
}

/// What the agent writes, in one family.
#[derive(Clone)]
struct Rows<A> {
    slots: Vec<u32>,
    frontends: HashMap<FrontendKey<A>, Frontend>,
    backends: HashMap<u32, Backend<A>>,
}

/// What the agent writes.
#[derive(Clone)]
pub struct Config {
    v4: Rows<[u8; 4]>,
    v6: Rows<[u8; 16]>,
}

/// What packets left behind.
#[derive(Clone)]
pub struct Learnt {
    v4: Tables<[u8; 4]>,
    v6: Tables<[u8; 16]>,
}

/// The two data planes.
pub struct World {
    loaded: Loaded,
    v4: Side<[u8; 4]>,
    v6: Side<[u8; 16]>,
}

impl World {
    /// A populated world in which nothing was learnt yet.
    ///
    /// # Errors
    /// Without root or the object.
    pub fn new(has_flow_table: bool) -> Result<Self> {
        let v4 = Side::<[u8; 4]>::new(Vec::new());
        let v6 = Side::<[u8; 16]>::new(v4.populated.dp.slots.clone());
        let mut world = Self {
            loaded: Loaded::with_ticks(TICKS_PER_SECOND, has_flow_table)?,
            v4,
            v6,
        };
        world.share();
        let config = world.config();
        world.configure(&config)?;
        Ok(world)
    }

    /// The next packet: one in two as a sender makes it.
    pub fn packet(&mut self, random: &mut Random) -> Packet {
        let (v4, v6) = (&mut self.v4, &mut self.v6);
        (v4.sent, v6.sent) = (None, None);
        let mut packet = match random.below(40) {
            0 => Packet {
                program: random.pick(&[Program::FromWorkload, Program::ToWorkload]),
                octets: {
                    let len = ETHERNET + random.below(100);
                    random.octets(len)
                },
                summed: false,
            },
            n if n % 2 == 0 => v4.packet(random),
            _ => v6.packet(random),
        };
        if random.one_in(2) {
            (v4.sent, v6.sent) = (None, None);
            for _ in 0..1 + random.below(3) {
                random.mutate(&mut packet.octets);
            }
        }
        lengthen(&mut packet.octets);
        packet.summed = packet.program == Program::ToWorkload && random.one_in(4);
        packet
    }

    /// Runs a packet on both sides: what the loaded program makes of it, then what the pipeline in memory does.
    ///
    /// # Errors
    /// If the kernel refuses the run.
    pub fn run(&mut self, packet: &Packet) -> Result<[Ran; 2]> {
        let (expected, puts_back) = match ethertype(&packet.octets) {
            0x0800 => self.v4.run(packet),
            0x86dd => self.v6.run(packet),
            _ => (untouched(packet), false),
        };
        // A packet that has become a longer one has lost the device's sum, and the run would still ask for it.
        let ran = if packet.summed && !puts_back {
            self.loaded.run_summed(packet.program, &packet.octets)
        } else {
            self.loaded.run(packet.program, &packet.octets)
        };
        let ran = ran.with_context(|| packet.to_string())?;
        Ok([ran, expected])
    }

    /// Lets endpoints come and go, on both sides.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn change(&mut self, random: &mut Random) -> Result<()> {
        if random.one_in(3) {
            self.v4.populated.serve(Vec::new(), random);
            let slots = self.v4.populated.dp.slots.clone();
            self.v6.populated.serve(slots, random);
            self.share();
        } else {
            self.v4.populated.change_a_backend(random);
            self.v6.populated.change_a_backend(random);
        }
        let config = self.config();
        self.configure(&config)
    }

    /// What the agent has written.
    pub fn config(&self) -> Config {
        Config {
            v4: self.v4.rows(),
            v6: self.v6.rows(),
        }
    }

    /// Writes what the agent writes, on both sides.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn configure(&mut self, config: &Config) -> Result<()> {
        self.v4.set_rows(&config.v4);
        self.v6.set_rows(&config.v6);
        self.loaded.fill(&self.v4.populated.dp)?;
        self.loaded.fill(&self.v6.populated.dp)
    }

    /// What both sides know, or how it differs or is not whole, in words.
    ///
    /// # Errors
    /// If a map can't be read.
    pub fn learnt(&mut self) -> Result<Result<Learnt, String>> {
        let ahead = self.ahead()?;
        let memory = Learnt {
            v4: Tables::of_memory(&self.v4.populated.dp),
            v6: Tables::of_memory(&self.v6.populated.dp),
        };
        let v4 = Tables::of_kernel(&mut self.loaded, ahead)?;
        let v6 = Tables::of_kernel(&mut self.loaded, ahead)?;
        let differences = [
            Tables::differences(&v4, &memory.v4, TOLERANCE),
            Tables::differences(&v6, &memory.v6, TOLERANCE),
            // Where the two are the same, in the kernel's maps as well.
            Tables::half_flow(&self.v4.populated.dp),
            Tables::half_flow(&self.v6.populated.dp),
        ];
        let texts: Vec<String> = differences.into_iter().flatten().collect();
        Ok(if texts.is_empty() {
            Ok(memory)
        } else {
            Err(texts.join("\n"))
        })
    }

    /// Makes this all that both sides know.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn teach(&mut self, learnt: &Learnt) -> Result<()> {
        let ahead = self.ahead()?;
        learnt.v4.to_memory(&self.v4.populated.dp);
        learnt.v6.to_memory(&self.v6.populated.dp);
        learnt.v4.to_kernel(&mut self.loaded, ahead)?;
        learnt.v6.to_kernel(&mut self.loaded, ahead)
    }

    /// Ticks that the kernel's clock is ahead of that in memory, by a cautious estimate.
    fn ahead(&self) -> Result<u32> {
        let now = Ticks::of_kernel()?.now()?.wrapping_sub(CAUTION);
        Ok(now.wrapping_sub(self.v4.populated.dp.now.get()))
    }

    /// Both families have one table of slots and one filter in the kernel.
    fn share(&mut self) {
        let (v4, v6) = (&mut self.v4.populated.dp, &mut self.v6.populated.dp);
        v4.slots.clone_from(&v6.slots);
        let both: HashSet<u32> = v4.vip_filter.union(&v6.vip_filter).copied().collect();
        v4.vip_filter.clone_from(&both);
        v6.vip_filter = both;
    }
}

impl Learnt {
    /// Nothing.
    pub fn nothing() -> Self {
        Self {
            v4: Tables::empty(),
            v6: Tables::empty(),
        }
    }

    /// The same after some time has passed, or nothing where it is more than there is room for.
    pub fn let_pass(self, random: &mut Random) -> Self {
        if self.v4.is_nearly_full() || self.v6.is_nearly_full() {
            return Self::nothing();
        }
        let ticks = random.pick(&PASSING) * TICKS_PER_SECOND;
        Self {
            v4: self.v4.older(ticks),
            v6: self.v6.older(ticks),
        }
    }
}

impl<A: Family> Side<A> {
    fn new(slots: Vec<u32>) -> Self {
        let mut populated = Populated::new(slots);
        populated.dp.ticks_per_second = TICKS_PER_SECOND;
        Self {
            populated,
            traffic: Traffic::new(),
            sent: None,
        }
    }

    fn packet(&mut self, random: &mut Random) -> Packet {
        let sent = self.traffic.next(&self.populated, random);
        let packet = Packet {
            program: match sent.direction {
                Direction::FromClient => Program::FromWorkload,
                Direction::FromBackend => Program::ToWorkload,
            },
            octets: if random.one_in(16) {
                sent.frame.build_with_partial_checksum()
            } else {
                sent.frame.build()
            },
            summed: false,
        };
        self.sent = Some(sent);
        packet
    }

    /// What the pipeline in memory makes of a packet, as the programs report it, and whether it puts fragments back.
    fn run(&mut self, packet: &Packet) -> (Ran, bool) {
        let mut frame = packet.octets.clone();
        let dp = &self.populated.dp;
        let verdict = match packet.program {
            Program::FromWorkload => dp.send(&mut frame),
            Program::ToWorkload => dp.receive(&mut frame),
        };
        if let Some(sent) = self.sent.take() {
            self.traffic.learn(&sent, &verdict);
        }
        let mut ran = reported(&verdict, &packet.octets, frame);
        let last_put_back = self.populated.dp.put_back.take().pop();
        let puts_back = last_put_back.is_some();
        if let Some(last) = last_put_back {
            // The packet itself has become the last of them.
            (ran.action, ran.frame) = (DROP, last);
        }
        (ran, puts_back)
    }

    fn rows(&self) -> Rows<A> {
        let dp = &self.populated.dp;
        Rows {
            slots: dp.slots.clone(),
            frontends: dp.frontends.clone(),
            backends: dp.backends.clone(),
        }
    }

    fn set_rows(&mut self, rows: &Rows<A>) {
        let dp = &mut self.populated.dp;
        dp.slots.clone_from(&rows.slots);
        dp.frontends.clone_from(&rows.frontends);
        dp.backends.clone_from(&rows.backends);
    }
}

/// What a program reports of a packet on which the pipeline decided so. `after` is the packet with the rewrite carried out.
fn reported<A: Family>(verdict: &Verdict<A>, before: &[u8], after: Vec<u8>) -> Ran {
    let mut counted = BTreeMap::new();
    if !matches!(verdict.reason, Reason::NotIp | Reason::NotForService) {
        counted.insert(verdict.reason.name(), 1);
    }
    let (action, frame) = match verdict.action {
        Action::Pass | Action::Relate | Action::Rewrite => (NEXT, after),
        Action::Echo => (REDIRECT, after),
        Action::Drop | Action::Hold => (DROP, after),
        Action::Reject => {
            let refused = packet::parse::<A>(before, ETHERNET).ok();
            match refused.and_then(|packet| refuse(before, &packet)) {
                Some(answer) => (REDIRECT, answer),
                None => {
                    counted.insert(Reason::RejectFailed.name(), 1);
                    (DROP, after)
                }
            }
        }
    };
    Ran {
        action,
        frame,
        counted,
    }
}

/// What becomes of a packet that is neither IPv4 nor IPv6.
fn untouched(packet: &Packet) -> Ran {
    Ran {
        action: NEXT,
        frame: packet.octets.clone(),
        counted: BTreeMap::new(),
    }
}

fn ethertype(octets: &[u8]) -> u16 {
    u16::from_be_bytes([octets[12], octets[13]])
}

/// Makes a frame so long that the kernel runs a program on it; those that are shorter are for the tests in memory.
fn lengthen(octets: &mut Vec<u8>) {
    let shortest = match ethertype(octets) {
        0x0800 => <[u8; 4]>::SHORTEST,
        0x86dd => <[u8; 16]>::SHORTEST,
        _ => ETHERNET + 1,
    };
    if octets.len() < shortest {
        octets.resize(shortest, 0);
    }
}

impl std::fmt::Display for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex: String = self.octets.iter().map(|o| format!("{o:02x}")).collect();
        let summed = if self.summed { " summed" } else { "" };
        write!(f, "{}{summed} {hex}", self.program.name())
    }
}
