//! The one element of `config`, read and written without a system call: every pass counts itself there. The agent alone writes it
//! while it runs, so it need not read what it wrote.

use lb_common::config::Config;
use lb_common::layout::name;

use super::mapped::Mapped;
use super::open::{Access, Pins};
use crate::maps::MapError;

/// Numbers of eight bytes that the element consists of.
const NUMBERS: usize = size_of::<Config>() / 8;
const _: () = assert!(size_of::<Config>() == NUMBERS * 8);

/// The map.
pub struct ConfigElement {
    memory: Mapped,
    /// What it holds, where nobody else may write it.
    known: Option<Config>,
}

impl ConfigElement {
    /// Opens it.
    pub fn open(pins: &Pins<'_>) -> Result<Self, MapError> {
        let memory = pins.mapped(name::CONFIG)?;
        let mut element = Self {
            memory,
            known: None,
        };
        if pins.access == Access::Write {
            element.known = Some(element.get()?);
        }
        Ok(element)
    }

    /// What it holds. While the agent writes it, some of its fields may be new and others not yet.
    pub fn get(&self) -> Result<Config, MapError> {
        if let Some(known) = self.known {
            return Ok(known);
        }
        let mut numbers = [0; NUMBERS];
        numbers.copy_from_slice(&self.memory.read_u64s(0..NUMBERS as u32)?);
        Ok(bytemuck::cast(numbers))
    }

    /// Writes it.
    pub fn put(&mut self, config: Config) -> Result<(), MapError> {
        let numbers: [u64; NUMBERS] = bytemuck::cast(config);
        for (index, number) in (0..).zip(numbers) {
            self.memory.write_u64(index, number)?;
        }
        self.known = self.known.map(|_| config);
        Ok(())
    }
}
