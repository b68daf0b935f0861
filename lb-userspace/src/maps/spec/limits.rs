//! How much the maps hold, as the agent's flags give it.

use lb_common::layout::limit;
use thiserror::Error;

use crate::model::{Families, Family};

/// How many entries the maps hold, as the flags of the same names say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The families that are served (`--ip-families`). The maps of another one have room for nothing.
    pub families: Families,
    /// Frontends of one family (`--max-frontends`).
    pub frontends: u32,
    /// Backends of one family (`--max-backends`).
    pub backends: u32,
    /// Slots of all service ports (`--max-slots`).
    pub slots: u32,
    /// Service ports (`--max-services`).
    pub services: u32,
    /// Flows of one family in the table that is looked at first (`--max-flows`).
    pub flows: u32,
    /// Conntrack entries of one family (`--max-conntrack`).
    pub conntrack: u32,
    /// Entries of one family for flows that are not assured yet, or over (`--max-transient`).
    pub transient: u32,
    /// Clients of one family that stay with their backend (`--max-affinity`).
    pub affinity: u32,
    /// Sockets of the node's processes (`--max-sockets`).
    pub sockets: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            families: Families::Both,
            frontends: limit::FRONTENDS,
            backends: limit::BACKENDS,
            slots: limit::SLOTS,
            services: limit::SERVICES,
            flows: limit::FLOWS,
            conntrack: limit::CONNTRACK,
            transient: limit::TRANSIENT,
            affinity: limit::AFFINITY,
            sockets: limit::SOCKETS,
        }
    }
}

/// A limit that can't be had.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{flag} is {limit}, which is not between 1 and {MOST}")]
pub struct LimitError {
    /// The flag that sets it.
    pub flag: &'static str,
    /// The limit.
    pub limit: u32,
}

/// The kernel rounds the buckets of a hash up to a power of two, which must fit into 32 bits (`kernel/bpf/hashtab.c`).
const MOST: u32 = 1 << 26;

/// Entries of a map of a family that is not served.
pub const NOT_SERVED: u32 = 1;

impl Limits {
    /// How many entries a map of a family has that holds so many where the family is served. The kernel makes none without an entry.
    pub fn entries_of(&self, family: Family, entries: u32) -> u32 {
        if self.families.has(family) {
            entries
        } else {
            NOT_SERVED
        }
    }

    /// Checks each limit.
    ///
    /// # Errors
    /// For the first that can't be had.
    pub fn check(&self) -> Result<(), LimitError> {
        let all = [
            ("--max-frontends", self.frontends),
            ("--max-backends", self.backends),
            ("--max-slots", self.slots),
            ("--max-services", self.services),
            // None is allowed.
            ("--max-flows", self.flows.max(1)),
            ("--max-conntrack", self.conntrack),
            ("--max-transient", self.transient),
            ("--max-affinity", self.affinity),
            ("--max-sockets", self.sockets),
        ];
        match all
            .into_iter()
            .find(|(_, limit)| !(1..=MOST).contains(limit))
        {
            Some((flag, limit)) => Err(LimitError { flag, limit }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_can_be_had() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_limit_of_nothing_or_too_much_is_named_by_its_flag() {
        for services in [0, MOST + 1, u32::MAX] {
            let limits = Limits {
                services,
                ..Limits::default()
            };
            let expected = LimitError {
                flag: "--max-services",
                limit: services,
            };
            assert_eq!(limits.check(), Err(expected));
        }
    }
}
