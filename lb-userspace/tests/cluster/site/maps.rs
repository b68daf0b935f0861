//! What the maps hold of one Kubernetes namespace, read from their pins as any tool may, once or all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use lb_common::frontend::Frontend;
use lb_userspace::maps::bpf::{Access, BpfMaps};
use lb_userspace::maps::{BackendRow, FrontendAt, Maps};

/// Between two looks; what is deleted and written again takes the agent two writes of everything.
const PAUSE: Duration = Duration::from_millis(5);

/// The rows of each Service by its name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dump(BTreeMap<String, Rows>);

/// The rows of a Service, with all ids, epochs and ranges.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rows {
    frontends: BTreeMap<FrontendAt, Frontend>,
    backends: BTreeMap<(SocketAddr, u32), BackendRow>,
    /// Backend ids in the slots that new connections are led by.
    slots: BTreeMap<FrontendAt, Vec<u32>>,
}

/// Somebody who looks at the maps all the time.
pub struct Vigil {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<History>>,
}

/// What became of Services, by name, between any two looks.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct History {
    /// Those that had a frontend, and then had one less.
    pub lost: BTreeSet<String>,
    /// Those of which a row differed: another backend, id, epoch or range.
    pub changed: BTreeSet<String>,
    /// Those that were new.
    pub made: BTreeSet<String>,
    /// How many looks there were.
    pub looks: u64,
}

impl Dump {
    /// Reads the maps.
    pub fn read(pins: &Path, namespace: &str) -> Result<Self> {
        Self::of(&BpfMaps::open(pins, Access::Read)?, namespace)
    }

    /// Where the Service is reached.
    pub fn frontends(&self, service: &str) -> BTreeSet<SocketAddr> {
        let rows = self.0.get(service).into_iter();
        rows.flat_map(|rows| rows.frontends.keys().map(FrontendAt::socket))
            .collect()
    }

    /// Where its frontends lead new connections, each of them.
    pub fn targets(&self, service: &str) -> BTreeSet<SocketAddr> {
        let rows = self.0.get(service).into_iter();
        rows.flat_map(Rows::targets).collect()
    }

    fn of(maps: &BpfMaps, namespace: &str) -> Result<Self> {
        let names: BTreeMap<u32, String> = maps
            .services()?
            .into_iter()
            .filter(|(_, name)| name.namespace() == namespace)
            .map(|(id, name)| (id, name.name().to_owned()))
            .collect();
        let mut dump = Self::default();
        for (at, row) in maps.frontends()? {
            if let Some(name) = names.get(&row.service_id()) {
                let range = row.range();
                let slots = maps.slots(range.offset..range.offset.saturating_add(range.len))?;
                let rows = dump.rows(name);
                rows.frontends.insert(at, row);
                rows.slots.insert(at, slots);
            }
        }
        for (id, row) in maps.backends()? {
            if let Some(name) = names.get(&row.service_id()) {
                dump.rows(name).backends.insert((row.socket(), id), row);
            }
        }
        Ok(dump)
    }

    fn rows(&mut self, name: &str) -> &mut Rows {
        self.0.entry(name.to_owned()).or_default()
    }
}

impl Rows {
    fn targets(&self) -> impl Iterator<Item = SocketAddr> {
        let backends = self.backends.keys();
        backends
            .filter(|(address, id)| {
                self.slots
                    .iter()
                    .any(|(at, ids)| at.socket().is_ipv6() == address.is_ipv6() && ids.contains(id))
            })
            .map(|(address, _)| *address)
    }
}

impl Vigil {
    pub(super) fn start(pins: &Path, namespace: &str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (pins, namespace) = (PathBuf::from(pins), namespace.to_owned());
        let maps = BpfMaps::open(&pins, Access::Read)?;
        // What was there before the first look counts.
        let first = Dump::of(&maps, &namespace)?;
        let thread = {
            let stop = stop.clone();
            thread::Builder::new()
                .name("vigil".into())
                .spawn(move || look(&maps, &namespace, first, &stop))?
        };
        Ok(Self { stop, thread })
    }

    /// Ends it and tells what was seen.
    pub fn end(self) -> Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        let history = self.thread.join();
        let history = history.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        println!("the maps were looked at {} times", history.looks);
        Ok(history)
    }
}

impl History {
    /// Holds that these Services and no other were lost, changed and made. What is made or lost changes row by row.
    #[track_caller]
    pub fn assert(&self, lost: &[&str], changed: &[&str], made: &[&str]) {
        let others = &(&self.changed - &self.made) - &self.lost;
        let told = [&self.lost, &others, &self.made]
            .map(|set| set.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(told, [lost, changed, made], "lost, changed, made");
        assert!(self.looks > 10, "only {} looks", self.looks);
    }
}

fn look(maps: &BpfMaps, namespace: &str, first: Dump, stop: &AtomicBool) -> Result<History> {
    let mut history = History::default();
    let mut before = first;
    loop {
        // One look more after the end, so that all that was done before it is seen.
        let last = stop.load(Ordering::Relaxed);
        let now = Dump::of(maps, namespace).context("the maps can't be read")?;
        history.compare(&before, &now);
        before = now;
        if last {
            return Ok(history);
        }
        thread::sleep(PAUSE);
    }
}

impl History {
    fn compare(&mut self, before: &Dump, now: &Dump) {
        self.looks += 1;
        for (name, old) in &before.0 {
            let new = now.0.get(name);
            let frontends = new.map(|rows| &rows.frontends);
            if old
                .frontends
                .keys()
                .any(|at| frontends.is_none_or(|new| !new.contains_key(at)))
            {
                self.lost.insert(name.clone());
            } else if new.is_some_and(|new| new != old) {
                self.changed.insert(name.clone());
            }
        }
        let made = now.0.keys().filter(|name| !before.0.contains_key(*name));
        self.made.extend(made.cloned());
    }
}
