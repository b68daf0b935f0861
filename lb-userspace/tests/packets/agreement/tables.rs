//! What packets teach a data plane: flows, affinity, fragments. In memory and in the kernel it must be the same.
//!
//! A further map that the programs write gets a field in [`Tables`] and a line in each of its functions.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

use anyhow::Result;
use lb_common::affinity::{Affinity, AffinityKey};
use lb_common::conntrack::{ConntrackKey, Flow};
use lb_common::fragments::{Fragments, FragmentsKey, Held, HeldKey};
use lb_common::pipeline::Dataplane;
use lb_common::testing::MemoryDataplane;

use crate::family::Family;
use crate::loaded::Loaded;

/// Rows of one family above which all is forgotten: far below the maps' sizes, for a map that is full forgets by itself.
const MAX_ROWS: usize = 12_000;
/// The same of fragments that are held.
const MAX_HELD: usize = 2_000;

/// A row with a stamp of the data plane's clock.
trait Row: Copy + PartialEq + Debug {
    fn stamp(&self) -> u32;
    fn stamped(self, tick: u32) -> Self;
}

impl<A: Family> Row for Flow<A> {
    fn stamp(&self) -> u32 {
        self.last_seen()
    }
    fn stamped(mut self, tick: u32) -> Self {
        self.see(self.state(), tick);
        self
    }
}

impl Row for Affinity {
    fn stamp(&self) -> u32 {
        self.last
    }
    fn stamped(self, tick: u32) -> Self {
        Self { last: tick, ..self }
    }
}

impl<A: Family> Row for Fragments<A> {
    fn stamp(&self) -> u32 {
        self.written_at()
    }
    fn stamped(self, tick: u32) -> Self {
        self.as_of(tick)
    }
}

/// What one family's packets left behind.
#[derive(Clone)]
pub struct Tables<A> {
    flows: HashMap<ConntrackKey<A>, Flow<A>>,
    affinity: HashMap<AffinityKey<A>, Affinity>,
    fragments: HashMap<FragmentsKey<A>, Fragments<A>>,
    held: HashMap<HeldKey<A>, Vec<u8>>,
}

impl<A: Family> Tables<A> {
    /// Nothing.
    pub fn empty() -> Self {
        Self {
            flows: HashMap::new(),
            affinity: HashMap::new(),
            fragments: HashMap::new(),
            held: HashMap::new(),
        }
    }

    /// What the data plane in memory knows.
    pub fn of_memory(dp: &MemoryDataplane<A>) -> Self {
        Self {
            flows: dp.flows.entries.borrow().clone(),
            affinity: dp.affinity.borrow().clone(),
            fragments: dp.fragments.borrow().clone(),
            held: dp.held.borrow().clone(),
        }
    }

    /// Makes this all that the data plane in memory knows.
    pub fn to_memory(&self, dp: &MemoryDataplane<A>) {
        for flow in self.flows.values() {
            dp.mark_backend(&flow.backend().address);
        }
        dp.flows.entries.replace(self.flows.clone());
        dp.affinity.replace(self.affinity.clone());
        dp.fragments.replace(self.fragments.clone());
        dp.held.replace(self.held.clone());
    }

    /// What the kernel's maps hold, with stamps that are `ahead` ticks earlier.
    ///
    /// # Errors
    /// If a map can't be read.
    pub fn of_kernel(loaded: &mut Loaded, ahead: u32) -> Result<Self> {
        let held = loaded.rows::<_, Held>(A::HELD)?.into_iter();
        Ok(Self {
            held: held.map(|(key, row)| (key, row.frame().to_vec())).collect(),
            flows: shifted(loaded.flows::<A>()?, ahead.wrapping_neg()),
            affinity: shifted(loaded.rows(A::AFFINITY)?, ahead.wrapping_neg()),
            fragments: shifted(loaded.rows(A::FRAGMENTS)?, ahead.wrapping_neg()),
        })
    }

    /// Makes this all that the kernel's maps hold, with stamps that are `ahead` ticks later.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn to_kernel(&self, loaded: &mut Loaded, ahead: u32) -> Result<()> {
        loaded.set_flows(&shifted(self.flows.clone(), ahead))?;
        loaded.set_rows(A::AFFINITY, &shifted(self.affinity.clone(), ahead))?;
        loaded.set_rows(A::FRAGMENTS, &shifted(self.fragments.clone(), ahead))?;
        let held = self.held.iter();
        let held: HashMap<_, _> = held.map(|(key, frame)| (*key, Held::of(frame))).collect();
        loaded.set_rows(A::HELD, &held)
    }

    /// The same, learnt so many ticks earlier.
    pub fn older(self, ticks: u32) -> Self {
        Self {
            flows: shifted(self.flows, ticks.wrapping_neg()),
            affinity: shifted(self.affinity, ticks.wrapping_neg()),
            fragments: shifted(self.fragments, ticks.wrapping_neg()),
            held: self.held,
        }
    }

    /// Whether there is little room left for more.
    pub fn is_nearly_full(&self) -> bool {
        self.flows.len() + self.affinity.len() + self.fragments.len() > MAX_ROWS
            || self.held.len() > MAX_HELD
    }

    /// A flow that is found from one side alone, in words; none may be.
    pub fn half_flow(dp: &MemoryDataplane<A>) -> Option<String> {
        let half = dp.flows.half();
        half.map(|(key, row)| format!("half a flow is known:\n  {key:?}\n    {row:?}"))
    }

    /// What differs between the kernel's rows and those in memory, in words; stamps may by less than `tolerance` ticks.
    pub fn differences(kernel: &Self, memory: &Self, tolerance: u32) -> Option<String> {
        let texts = [
            difference("flows", &kernel.flows, &memory.flows, tolerance),
            difference("affinity", &kernel.affinity, &memory.affinity, tolerance),
            difference("fragments", &kernel.fragments, &memory.fragments, tolerance),
            (kernel.held != memory.held).then(|| {
                let [kernel, memory] = [kernel, memory].map(|side| side.held.keys());
                format!("held fragments differ:\n    kernel {kernel:?}\n    memory {memory:?}")
            }),
        ];
        let texts: Vec<String> = texts.into_iter().flatten().collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }
}

fn shifted<K: Copy + Eq + Hash, V: Row>(rows: HashMap<K, V>, ticks: u32) -> HashMap<K, V> {
    rows.into_iter()
        .map(|(key, row)| (key, row.stamped(row.stamp().wrapping_add(ticks))))
        .collect()
}

fn difference<K: Copy + Eq + Hash + Debug, V: Row>(
    what: &str,
    kernel: &HashMap<K, V>,
    memory: &HashMap<K, V>,
    tolerance: u32,
) -> Option<String> {
    let same = |a: &V, b: &V| {
        let apart = a.stamp().wrapping_sub(b.stamp());
        a.stamped(0) == b.stamped(0) && apart.min(apart.wrapping_neg()) < tolerance
    };
    let of_kernel = kernel
        .iter()
        .filter(|(key, row)| memory.get(key).is_none_or(|other| !same(row, other)))
        .map(|(key, row)| {
            format!(
                "  {key:?}\n    kernel {row:?}\n    memory {:?}",
                memory.get(key)
            )
        });
    let of_memory = memory
        .iter()
        .filter(|(key, _)| !kernel.contains_key(key))
        .map(|(key, row)| format!("  {key:?}\n    kernel None\n    memory {row:?}"));
    let rows: Vec<String> = of_kernel.chain(of_memory).collect();
    let shown = rows.iter().take(4).cloned().collect::<Vec<_>>().join("\n");
    (!rows.is_empty()).then(|| format!("{} rows of {what} differ:\n{shown}", rows.len()))
}
