//! The rows of the table: which benchmark it is in words, and what its figure should be.

/// A row. A benchmark that is of several sizes has one for each.
pub struct Row {
    /// The name of the benchmark, without its size.
    pub name: &'static str,
    /// The goal's number, or nothing.
    pub goal: &'static str,
    pub what: &'static str,
    pub unit: Unit,
    /// The least that may ship, and the goal.
    pub limits: Option<[f64; 2]>,
}

/// What a figure is told in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    Microseconds,
    Milliseconds,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
        }
    }

    /// How many nanoseconds it is.
    pub fn nanoseconds(self) -> f64 {
        match self {
            Self::Microseconds => 1e3,
            Self::Milliseconds => 1e6,
        }
    }
}

const CHANGE: Option<[f64; 2]> = Some([50.0, 5.0]);
const SYNC: Option<[f64; 2]> = Some([50.0, 10.0]);

/// All rows, in the order of an event's way.
// A row a line, as in the table that it becomes.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    micro("resolve", "", "one Service is resolved", None),
    micro("change/nowhere/event-to-maps", "", "an endpoint changes: from the event to the writes, none of them done", None),
    micro("change/kernel/event-to-maps", "", "… from the event to the maps", None),
    micro("change/nowhere/pass", "", "… the pass over what differs, no write done", None),
    micro("change/kernel/pass", "P13", "… the pass over what differs", CHANGE),
    micro("change/kernel/pass-cold", "P13", "… the same after others have had the caches", CHANGE),
    milli("sync/index", "", "everything is told: taken into the index", None),
    milli("sync/resolve", "", "… resolved", None),
    milli("sync/desired", "", "… given ids, slots and rows", None),
    milli("sync/pass-nowhere", "", "… the pass over what differs, no write done", None),
    milli("sync/pass-kernel", "P12", "… the pass over what differs", SYNC),
    milli("sync/writes-kernel", "P12", "… of that, the writes alone", SYNC),
    milli("sync/writes-kernel-filter", "", "… … bits of the filter", None),
    milli("sync/writes-kernel-backends", "", "… … backends", None),
    milli("sync/writes-kernel-slots", "", "… … slots", None),
    milli("sync/writes-kernel-names", "", "… … names of service ports", None),
    milli("sync/writes-kernel-frontends", "", "… … frontends, and the addresses' own rows", None),
];

const fn micro(
    name: &'static str,
    goal: &'static str,
    what: &'static str,
    limits: Option<[f64; 2]>,
) -> Row {
    Row {
        name,
        goal,
        what,
        unit: Unit::Microseconds,
        limits,
    }
}

const fn milli(
    name: &'static str,
    goal: &'static str,
    what: &'static str,
    limits: Option<[f64; 2]>,
) -> Row {
    Row {
        unit: Unit::Milliseconds,
        ..micro(name, goal, what, limits)
    }
}
