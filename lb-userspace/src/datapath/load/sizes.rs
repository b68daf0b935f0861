//! Sizes of the maps, as the agent's flags give them.

use std::collections::BTreeMap;

use lb_common::{
    frontend::SLOTS_PER_ELEMENT,
    layout::{limit, name},
};
use thiserror::Error;

use crate::datapath::pins::MapShape;

/// Sizes in entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Frontends of one family.
    pub frontends: u32,
    /// Backends of one family.
    pub backends: u32,
    /// Slots of all service ports.
    pub slots: u32,
    /// Service ports.
    pub services: u32,
    /// Conntrack entries of one family.
    pub conntrack: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            frontends: limit::FRONTENDS,
            backends: limit::BACKENDS,
            slots: limit::SLOTS,
            services: limit::SERVICES,
            conntrack: limit::CONNTRACK,
        }
    }
}

/// A size that can't be had.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the size of {what} is {size}, which is not between 1 and {MOST}")]
pub struct SizeError {
    /// What it is the size of.
    pub what: &'static str,
    /// The size.
    pub size: u32,
}

/// The kernel rounds the buckets of a hash up to a power of two, which must fit into 32 bits (`kernel/bpf/hashtab.c`).
const MOST: u32 = 1 << 26;

impl Sizes {
    /// Checks each size.
    ///
    /// # Errors
    /// For the first that can't be had.
    pub fn check(&self) -> Result<(), SizeError> {
        let all = [
            ("frontends", self.frontends),
            ("backends", self.backends),
            ("slots", self.slots),
            ("services", self.services),
            ("conntrack", self.conntrack),
        ];
        match all.into_iter().find(|(_, size)| !(1..=MOST).contains(size)) {
            Some((what, size)) => Err(SizeError { what, size }),
            None => Ok(()),
        }
    }

    /// The object's maps with these sizes in place of the compiled ones.
    pub(super) fn applied_to(
        &self,
        mut shapes: BTreeMap<&'static str, MapShape>,
    ) -> BTreeMap<&'static str, MapShape> {
        for (name, shape) in &mut shapes {
            if let Some(entries) = self.entries(name) {
                shape.max_entries = entries;
            }
        }
        shapes
    }

    fn entries(&self, map: &str) -> Option<u32> {
        Some(match map {
            name::FRONTENDS_V4 | name::FRONTENDS_V6 => self.frontends,
            name::BACKENDS_V4 | name::BACKENDS_V6 => self.backends,
            name::SLOTS => self.slots.div_ceil(SLOTS_PER_ELEMENT),
            name::SERVICES => self.services,
            name::CONNTRACK_V4 | name::CONNTRACK_V6 => self.conntrack,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_sizes_are_valid() {
        assert_eq!(Sizes::default().check(), Ok(()));
    }

    #[test]
    fn a_size_of_nothing_or_too_much_is_named() {
        for size in [0, MOST + 1, u32::MAX] {
            let error = Sizes {
                services: size,
                ..Sizes::default()
            }
            .check()
            .unwrap_err();
            assert_eq!(
                error,
                SizeError {
                    what: "services",
                    size
                }
            );
        }
    }

    #[test]
    fn two_slots_share_an_element_and_an_odd_one_has_its_own() {
        for (slots, elements) in [(1, 1), (2, 1), (3, 2), (1000, 500)] {
            let sizes = Sizes {
                slots,
                ..Sizes::default()
            };
            assert_eq!(sizes.entries(name::SLOTS), Some(elements), "{slots} slots");
        }
    }

    #[test]
    fn what_no_flag_sizes_keeps_its_own_size() {
        for map in [name::VIP_FILTER, name::COUNTERS, name::CONFIG] {
            assert_eq!(Sizes::default().entries(map), None);
        }
    }
}
