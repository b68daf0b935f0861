//! What the data plane itself has counted: the proof that the packets of a measurement were treated as they should be, every one.

use anyhow::{Result, ensure};
use lb_common::reason::Reason;
use lb_userspace::maps::Maps;
use lb_userspace::view;

/// Counters, at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Packets, by the number of their reason.
    packets: Vec<u64>,
    /// Entries of tables of flows that had to go for others, at least.
    displaced: u64,
}

/// How a table of flows takes new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// As they are by default.
    Usual,
    /// LRU maps alone.
    Lru,
    /// There is room for nearly all of them.
    Roomy,
    /// Nearly each displaces another one.
    Full,
}

/// One in so many new flows may find a table otherwise than [`Tables`] says: a part of a table may be full or have room, by chance.
const ONE_IN: u64 = 10;

impl Counts {
    /// Those of now.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn of(maps: &dyn Maps) -> Result<Self> {
        Ok(Self {
            packets: maps.counters()?,
            displaced: view::displaced(maps)?.into_values().sum(),
        })
    }

    /// What was counted after an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        let packets = self.packets.iter().zip(&earlier.packets);
        Self {
            packets: packets.map(|(now, then)| now - then).collect(),
            // It falls where a full table has removed an entry.
            displaced: self.displaced.saturating_sub(earlier.displaced),
        }
    }

    /// Fails unless so many packets were counted, all of them with each of these reasons and no other.
    ///
    /// # Errors
    /// Then, with all that was counted.
    pub fn ensure_all(&self, packets: u32, reasons: &[Reason]) -> Result<()> {
        let found: Vec<(&str, u64)> = Reason::ALL
            .iter()
            .zip(&self.packets)
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| (reason.name(), *count))
            .collect();
        let expected: Vec<(&str, u64)> = Reason::ALL
            .iter()
            .filter(|reason| reasons.contains(reason))
            .map(|reason| (reason.name(), u64::from(packets)))
            .collect();
        ensure!(
            found == expected,
            "of {packets} packets, counted were {found:?} instead of {expected:?}"
        );
        Ok(())
    }

    /// Whether so many new flows have found the tables like this.
    pub fn show(&self, tables: Tables, new_flows: u32) -> bool {
        let few = u64::from(new_flows) / ONE_IN;
        match tables {
            Tables::Usual | Tables::Lru => true,
            Tables::Roomy => self.displaced <= few,
            Tables::Full => self.displaced >= u64::from(new_flows) - few,
        }
    }

    /// Fails unless so many new flows have found the tables like this.
    ///
    /// # Errors
    /// Then.
    pub fn ensure_tables(&self, tables: Tables, new_flows: u32) -> Result<()> {
        ensure!(
            self.show(tables, new_flows),
            "{new_flows} new flows have displaced {} entries: the tables are not {tables:?}",
            self.displaced
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(Reason, u64)], displaced: u64) -> Counts {
        let mut packets = vec![0; Reason::ALL.len()];
        for (reason, count) in of {
            packets[*reason as usize] = *count;
        }
        Counts { packets, displaced }
    }

    #[test]
    fn packets_that_were_treated_otherwise_are_told() {
        let before = counts(&[(Reason::Forward, 5), (Reason::NewFlow, 1)], 0);
        let after = counts(&[(Reason::Forward, 12), (Reason::NewFlow, 1)], 0);
        let grown = after.since(&before);
        grown.ensure_all(7, &[Reason::Forward]).unwrap();
        for (packets, reasons) in [
            (8, &[Reason::Forward][..]),
            (7, &[Reason::NewFlow]),
            (7, &[Reason::Forward, Reason::Delivered]),
            (7, &[]),
        ] {
            let error = grown.ensure_all(packets, reasons).unwrap_err();
            assert!(error.to_string().contains("(\"forward\", 7)"), "{error}");
        }
        counts(&[], 0).ensure_all(7, &[]).unwrap();
    }

    #[test]
    fn a_table_is_full_where_nearly_each_new_flow_displaces_an_entry() {
        for (displaced, roomy, full) in [
            (0, true, false),
            (10, true, false),
            (11, false, false),
            (89, false, false),
            (90, false, true),
            (200, false, true),
        ] {
            let grown = counts(&[], displaced);
            assert_eq!(grown.show(Tables::Roomy, 100), roomy, "{displaced}");
            assert_eq!(grown.show(Tables::Full, 100), full, "{displaced}");
        }
    }
}
