//! A reconciler whose every write is replayed on a second set of maps and judged: after each one, whatever a packet can
//! reach must be whole.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::desired::GRACE;
use crate::maps::memory::Memory;
use crate::maps::row::vip_bit;
use crate::maps::{BackendKey, BackendRow, Limits, Maps, Op};
use crate::model::ObjectName;
use crate::reconciler::{Outcome, Reconciler};
use crate::resolve::ResolvedPort;
use crate::view;

/// A watched reconciler with a clock of its own.
pub struct Watched {
    pub reconciler: Reconciler<Memory>,
    pub now: Instant,
    /// Whether a table may be written where it stands, which is only right when there is no room beside it.
    pub in_place: bool,
    replay: Memory,
    freed_ids: HashMap<BackendKey, Instant>,
    freed_slots: Vec<(Range<u32>, Instant)>,
    seen: HashSet<(u32, u32)>,
}

impl Watched {
    pub fn new(limits: Limits) -> Self {
        Self::over(Memory::new(limits))
    }

    pub fn over(maps: Memory) -> Self {
        let mut replay = maps.clone();
        replay.faults.clear();
        Self {
            replay,
            reconciler: Reconciler::start(maps).unwrap(),
            now: Instant::now(),
            in_place: false,
            freed_ids: HashMap::new(),
            freed_slots: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// Small maps with room enough for all but the tests of exhaustion.
    pub fn roomy() -> Self {
        Self::new(Limits {
            slots: 20_000,
            ..Limits::default()
        })
    }

    pub fn apply(&mut self, service: &ObjectName, ports: Vec<ResolvedPort>) {
        self.reconciler.apply(service, ports);
    }

    pub fn advance(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Reconciles and judges every write.
    pub fn reconcile(&mut self) -> Outcome {
        self.reconcile_by(Reconciler::reconcile)
    }

    /// Reconciles when the sources can't read some Services or slices of them, and judges every write.
    pub fn reconcile_but(&mut self, unread: BTreeSet<ObjectName>) -> Outcome {
        self.reconcile_by(|reconciler, now| reconciler.reconcile_but(now, unread))
    }

    /// Reconciles before the sources are complete, and judges every write.
    pub fn reconcile_known(&mut self) -> Outcome {
        self.reconcile_by(Reconciler::reconcile_known)
    }

    fn reconcile_by(
        &mut self,
        reconcile: impl FnOnce(&mut Reconciler<Memory>, Instant) -> Outcome,
    ) -> Outcome {
        let outcome = reconcile(&mut self.reconciler, self.now);
        for op in self.reconciler.maps_mut().take_log() {
            self.watch(&op);
        }
        assert_eq!(self.dump(), view::dump(&self.replay).unwrap());
        outcome
    }

    /// Reconciles until there is nothing to try again, time passing as asked for.
    pub fn settle(&mut self) -> Outcome {
        for _ in 0..50 {
            let outcome = self.reconcile();
            match outcome.retry_after {
                Some(after) => self.now += after,
                None => return outcome,
            }
        }
        panic!("still not settled: {:?}", self.reconcile());
    }

    /// Ends the agent and starts another one over the same maps.
    pub fn restart(self) -> Self {
        let (now, in_place) = (self.now, self.in_place);
        Self {
            now,
            in_place,
            ..Self::over(self.reconciler.into_maps())
        }
    }

    pub fn dump(&self) -> String {
        view::dump(self.reconciler.maps()).unwrap()
    }

    fn watch(&mut self, op: &Op) {
        self.judge_reuse(op);
        let ranges = self.ranges();
        if let Op::WriteSlots { offset, ids } = op {
            // A table is many stores; a packet may come between any two of them.
            let part = ids.len().div_ceil(4);
            for (i, ids) in ids.chunks(part).enumerate() {
                let offset = offset + (i * part) as u32;
                self.replay(&Op::WriteSlots {
                    offset,
                    ids: ids.into(),
                });
            }
        } else {
            self.replay(op);
        }
        let still = self.ranges();
        let freed = ranges
            .difference(&still)
            .map(|(offset, len)| (*offset..offset + len, self.now));
        self.freed_slots.extend(freed);
    }

    fn replay(&mut self, op: &Op) {
        for result in self.replay.apply(std::slice::from_ref(op)) {
            result.unwrap();
        }
        judge(&self.replay, op);
    }

    fn judge_reuse(&mut self, op: &Op) {
        match op {
            Op::DeleteBackend(key) => {
                self.freed_ids.insert(*key, self.now);
            }
            Op::PutBackend(id, row) => {
                let key = row.key(*id);
                let rows = self.replay.backends().unwrap();
                if let Some((_, known)) = rows.iter().find(|(id, row)| row.key(*id) == key) {
                    // What is no one word is read while it is written.
                    assert_eq!(
                        (known.socket(), known.service_id()),
                        (row.socket(), row.service_id()),
                        "backend {id} becomes another"
                    );
                    return;
                }
                assert!(
                    self.seen.insert((*id, row.epoch())),
                    "id {id} again with epoch {}",
                    row.epoch()
                );
                if let Some(freed) = self.freed_ids.get(&key) {
                    assert!(*freed + GRACE <= self.now, "id {id} is used again too soon");
                }
            }
            Op::WriteSlots { offset, ids } if !self.in_place => {
                let end = offset + ids.len() as u32;
                let overlaps = |range: &Range<u32>| range.start < end && *offset < range.end;
                for (offset, len) in self.ranges() {
                    assert!(
                        !overlaps(&(offset..offset + len)),
                        "slots in use are overwritten: {op:?}"
                    );
                }
                for (range, freed) in &self.freed_slots {
                    let rested = *freed + GRACE <= self.now;
                    assert!(
                        rested || !overlaps(range),
                        "slots {range:?} are used again too soon"
                    );
                }
            }
            _ => {}
        }
    }

    /// The ranges that frontends name.
    fn ranges(&self) -> HashSet<(u32, u32)> {
        let rows = self.replay.frontends().unwrap();
        let ranges = rows
            .iter()
            .flat_map(|(_, row)| [row.cluster(), row.local()]);
        ranges
            .filter(|range| range.len > 0)
            .map(|range| (range.offset, range.len))
            .collect()
    }
}

/// Every frontend's filter bit, name, slots and backends are there.
fn judge(maps: &Memory, after: &Op) {
    let backends: HashMap<BackendKey, BackendRow> = maps
        .backends()
        .unwrap()
        .into_iter()
        .map(|(id, row)| (row.key(id), row))
        .collect();
    let names: HashSet<u32> = maps
        .services()
        .unwrap()
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let filter = maps.vip_filter().unwrap();
    for (at, row) in maps.frontends().unwrap() {
        let bit = vip_bit(&at.address());
        assert_ne!(
            filter[bit as usize / 64] & (1 << (bit % 64)),
            0,
            "{at} is hidden after {after:?}"
        );
        if at.is_address_row() {
            continue;
        }
        assert!(
            names.contains(&row.service_id()),
            "{at} has no name after {after:?}"
        );
        for range in [row.cluster(), row.local()] {
            for id in maps.slots(range.offset..range.offset + range.len).unwrap() {
                let backend = backends.get(&BackendKey {
                    family: at.family(),
                    id,
                });
                let backend =
                    backend.unwrap_or_else(|| panic!("{at} lacks backend {id} after {after:?}"));
                assert_eq!(
                    backend.service_id(),
                    row.service_id(),
                    "{at} has another's backend after {after:?}"
                );
            }
        }
    }
}
