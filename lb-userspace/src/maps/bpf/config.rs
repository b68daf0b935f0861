//! The one element of `config`. The agent alone writes it while it runs, so it need not read what it wrote: every pass counts
//! itself there.

use aya::maps::{Array, Map, MapData};
use lb_common::config::Config;
use lb_common::layout::name;

use super::error;
use super::open::{Access, Pins};
use super::wire::Wire;
use crate::maps::MapError;

/// The map.
pub struct ConfigElement {
    map: Array<MapData, Wire<Config>>,
    /// What it holds, where nobody else may write it.
    known: Option<Config>,
}

impl ConfigElement {
    /// Opens it.
    pub fn open(pins: &Pins<'_>) -> Result<Self, MapError> {
        let map = pins.typed(name::CONFIG, |data| Map::Array(data).try_into())?;
        let mut element = Self { map, known: None };
        if pins.access == Access::Write {
            element.known = Some(element.get()?);
        }
        Ok(element)
    }

    /// What it holds.
    pub fn get(&self) -> Result<Config, MapError> {
        if let Some(known) = self.known {
            return Ok(known);
        }
        match self.map.get(&0, 0) {
            Ok(Wire(config)) => Ok(config),
            Err(e) => Err(error::write(
                name::CONFIG,
                "read",
                "its element".to_owned(),
                e,
            )),
        }
    }

    /// Writes it.
    pub fn put(&mut self, config: Config) -> Result<(), MapError> {
        self.map
            .set(0, Wire(config), 0)
            .map_err(|e| error::write(name::CONFIG, "put", "its element".to_owned(), e))?;
        self.known = self.known.map(|_| config);
        Ok(())
    }
}
