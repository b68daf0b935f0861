//! What happened since both sides were last seen to know the same, and, where they come to disagree, the least of it that
//! makes them.

use std::fmt;

use anyhow::Result;

use super::world::{Config, Learnt, Packet, World};
use crate::loaded::Ran;

/// Times that a history is run again to make it shorter.
const TRIALS: usize = 300;

/// Something that happened.
#[derive(Clone)]
pub enum Step {
    /// A packet.
    Packet(Packet),
    /// The agent wrote something.
    Config(Box<Config>),
}

/// A state that both sides were in, and what happened since.
pub struct History {
    config: Config,
    learnt: Learnt,
    steps: Vec<Step>,
}

/// Where the two sides disagree.
pub enum Disagreement {
    /// What became of a packet: in the kernel, in memory.
    Packet(Box<[Ran; 2]>),
    /// What they know afterwards, in words.
    Learnt(String),
}

impl History {
    /// Nothing happened yet.
    pub fn new(config: Config, learnt: Learnt) -> Self {
        Self {
            config,
            learnt,
            steps: Vec::new(),
        }
    }

    /// Something happened.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Runs everything again, and says where the sides disagree first, with the steps up to there.
    fn replay(&self, world: &mut World) -> Result<Option<(usize, Disagreement)>> {
        world.configure(&self.config)?;
        world.teach(&self.learnt)?;
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Config(config) => world.configure(config)?,
                Step::Packet(packet) => {
                    let [ran, expected] = world.run(packet)?;
                    if ran != expected {
                        let found = Disagreement::Packet(Box::new([ran, expected]));
                        return Ok(Some((i + 1, found)));
                    }
                }
            }
        }
        let difference = world.learnt()?.err();
        Ok(difference.map(|text| (self.steps.len(), Disagreement::Learnt(text))))
    }

    /// Makes a history shorter over which the sides disagree, as far as that is done soon, and says how they do then.
    ///
    /// # Errors
    /// If the kernel refuses something.
    pub fn shortened(mut self, world: &mut World) -> Result<(Self, Option<Disagreement>)> {
        let mut found = None;
        let mut trials = 0;
        let mut still = |history: &mut Self, world: &mut World| -> Result<bool> {
            trials += 1;
            if trials > TRIALS {
                return Ok(false);
            }
            match history.replay(world)? {
                Some((steps, disagreement)) => {
                    history.steps.truncate(steps);
                    found = Some(disagreement);
                    Ok(true)
                }
                None => Ok(false),
            }
        };
        // Without what was known before; then as it was.
        let mut fresh = Self::new(self.config.clone(), Learnt::nothing());
        fresh.steps.clone_from(&self.steps);
        if still(&mut fresh, world)? {
            self = fresh;
        } else if !still(&mut self, world)? {
            return Ok((self, None));
        }
        let mut part = self.steps.len().div_ceil(2);
        while part > 0 {
            let mut at = 0;
            while at < self.steps.len() {
                let mut shorter = self.without(at, part);
                if still(&mut shorter, world)? {
                    self = shorter;
                } else {
                    at += part;
                }
            }
            part /= 2;
        }
        // Of each packet, octets that play no part.
        for i in 0..self.steps.len() {
            let Step::Packet(packet) = &self.steps[i] else {
                continue;
            };
            let len = packet.octets.len();
            for cut in [len / 2, len / 4, 16, 4, 1] {
                let mut shorter = self.without(0, 0);
                if let Some(Step::Packet(packet)) = shorter.steps.get_mut(i)
                    && packet.octets.len() > cut + 54
                {
                    packet.octets.truncate(packet.octets.len() - cut);
                    if still(&mut shorter, world)? {
                        self = shorter;
                    }
                }
            }
        }
        Ok((self, found))
    }

    /// The same history without some of its steps.
    fn without(&self, at: usize, len: usize) -> Self {
        let end = (at + len).min(self.steps.len());
        Self {
            config: self.config.clone(),
            learnt: self.learnt.clone(),
            steps: [&self.steps[..at], &self.steps[end..]].concat(),
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Packet(packet) => writeln!(f, "  {packet}")?,
                Step::Config(_) => writeln!(f, "  (endpoints change)")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(sides) => {
                for (side, ran) in ["the loaded program", "the pipeline in memory"]
                    .iter()
                    .zip(sides.iter())
                {
                    let hex: String = ran.frame.iter().map(|o| format!("{o:02x}")).collect();
                    writeln!(
                        f,
                        "{side}: action {}, {:?}\n  {hex}",
                        ran.action, ran.counted
                    )?;
                }
                Ok(())
            }
            Self::Learnt(text) => writeln!(f, "{text}"),
        }
    }
}
