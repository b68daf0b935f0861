//! What a packet of a case costs, by the method of its goal, and the proof that it was a packet of the case.

use std::rc::Rc;

use anyhow::{Context, Result, bail};
use lb_common::reason::Reason;
use lb_common::testing::Random;

use super::super::Options;
use super::super::case::{Case, Flows, Packets};
use super::super::counts::Counts;
use super::super::feeder::Feeder;
use super::super::frames::Family;
use super::World;
use crate::bpf::program::Program;
use crate::numbers::median;

impl World {
    /// What a packet of a case costs, in nanoseconds over an empty program, which runs right before and on the same frames.
    ///
    /// # Errors
    /// If the kernel refuses a run, if a packet does not go on or is counted otherwise than those of the case, and if new flows find
    /// other tables than they should.
    pub fn measure(&mut self, number: usize, empty: &Program, options: &Options) -> Result<f64> {
        let (case, family) = self.cases[number];
        let before = Counts::of(&self.maps)?;
        let (cost, packets) = match case.packets {
            Packets::Hot(..) => self.hot(case.packets, family, empty, options),
            Packets::Redirected => self.redirected(number, empty, options),
            Packets::Loop(Flows::Established(flows)) => {
                self.established(number, flows, empty, options)
            }
            Packets::Loop(Flows::New) => self.new_flows(family, empty, options),
            Packets::Fresh(flows) => self.fresh(number, flows, empty, options),
        }
        .with_context(|| format!("{}, {}", case.what, family.name()))?;
        let counted = Counts::of(&self.maps)?.since(&before);
        let checked = counted
            .ensure_all(packets, case.packets.reasons())
            .and_then(|()| match case.packets.reasons() {
                [Reason::NewFlow] => counted.ensure_tables(self.tables, packets),
                _ => Ok(()),
            });
        checked.with_context(|| format!("{}, {}", case.what, family.name()))?;
        Ok(cost)
    }

    /// Each packet of the case again and again. Here and below: what it costs, and how many packets the agent's program was given.
    fn hot(
        &self,
        packets: Packets,
        family: Family,
        empty: &Program,
        options: &Options,
    ) -> Result<(f64, u32)> {
        let program = self.program(packets.direction());
        let each = options.repeat.div_ceil(packets.frames());
        let mut cost = 0.0;
        for client in 0..packets.frames() {
            let frame = self.packet(packets, family, client);
            // Once before, so that nothing is cold.
            program.run(&frame, 1)?.goes_on()?;
            let idle = empty.run(&frame, each)?.goes_on()?;
            let busy = program.run(&frame, each)?.goes_on()?;
            cost += busy - idle;
        }
        let count = packets.frames();
        Ok((cost / f64::from(count), count * (each + 1)))
    }

    /// One packet again and again, as it was before it was handed over.
    fn redirected(
        &mut self,
        number: usize,
        empty: &Program,
        options: &Options,
    ) -> Result<(f64, u32)> {
        let feeder = self.feeder(number, 1)?;
        let idle = feeder.run(empty, options.repeat)?.goes_on()?;
        feeder.run(&self.loaded.from_pod, 1)?.is_redirected()?;
        let busy = feeder.run(&self.loaded.from_pod, options.repeat)?;
        Ok((busy.is_redirected()? - idle, options.repeat + 1))
    }

    /// Packets of many established flows in one loop.
    fn established(
        &mut self,
        number: usize,
        flows: u32,
        empty: &Program,
        options: &Options,
    ) -> Result<(f64, u32)> {
        let feeder = self.feeder(number, flows)?;
        let idle = feeder.run(empty, options.repeat)?.goes_on()?;
        // All of them once before, so that no stamp is due in the loop: each is renewed once a second.
        feeder.run(&self.loaded.from_pod, flows)?.goes_on()?;
        let busy = feeder
            .run(&self.loaded.from_pod, options.repeat)?
            .goes_on()?;
        Ok((busy - idle, flows + options.repeat))
    }

    /// What gives the packets of a case of so many established flows, in an order that is the same in each round.
    fn feeder(&mut self, number: usize, flows: u32) -> Result<Rc<Feeder>> {
        if let Some(feeder) = &self.feeders[number] {
            return Ok(feeder.clone());
        }
        let (Case { packets, .. }, family) = self.cases[number];
        let mut clients: Vec<u32> = (0..flows).collect();
        shuffle(&mut clients, &mut self.random);
        let clients = clients.into_iter();
        let frames = clients.map(|client| self.packet(packets, family, client));
        let feeder = match packets {
            Packets::Redirected => Feeder::of_headers(frames),
            _ => Feeder::new(frames),
        }?;
        Ok(self.feeders[number].insert(Rc::new(feeder)).clone())
    }

    /// Packets that each begin a flow, in one loop.
    fn new_flows(
        &mut self,
        family: Family,
        empty: &Program,
        options: &Options,
    ) -> Result<(f64, u32)> {
        let clients = self.next_clients(family, options.samples);
        let packets = Packets::Loop(Flows::New);
        let feeder = Feeder::new(clients.map(|client| self.packet(packets, family, client)))?;
        let idle = feeder.run(empty, options.samples)?.goes_on()?;
        let busy = feeder
            .run(&self.loaded.from_pod, options.samples)?
            .goes_on()?;
        Ok((busy - idle, options.samples))
    }

    /// What the packet in the middle costs, each run by a system call of its own.
    fn fresh(
        &mut self,
        number: usize,
        flows: Flows,
        empty: &Program,
        options: &Options,
    ) -> Result<(f64, u32)> {
        let (Case { packets, .. }, family) = self.cases[number];
        let (clients, before): (Vec<u32>, u32) = match flows {
            Flows::Established(flows) => {
                let client = |_| self.random.below(flows as usize) as u32;
                ((0..options.samples).map(client).collect(), flows)
            }
            Flows::New => (self.next_clients(family, options.samples).collect(), 0),
        };
        // All frames before the first run, which would find less in the caches after the making of one.
        let frames = clients.into_iter();
        let frames: Vec<_> = frames.map(|it| self.packet(packets, family, it)).collect();
        if before > 0 {
            // As in the loop: no stamp is due.
            let feeder = self.feeder(number, before)?;
            feeder.run(&self.loaded.from_pod, before)?.goes_on()?;
        }
        let mut idle = Vec::with_capacity(frames.len());
        let mut busy = Vec::with_capacity(frames.len());
        for frame in frames {
            idle.push(empty.run(&frame, 1)?.goes_on()?);
            busy.push(self.loaded.from_pod.run(&frame, 1)?.goes_on()?);
        }
        match (median(&busy), median(&idle)) {
            (Some(busy), Some(idle)) => Ok((busy - idle, before + options.samples)),
            _ => bail!("no frame was run"),
        }
    }
}

/// Every order is as likely (Fisher and Yates).
fn shuffle(all: &mut [u32], random: &mut Random) {
    for last in (1..all.len()).rev() {
        all.swap(last, random.below(last + 1));
    }
}
