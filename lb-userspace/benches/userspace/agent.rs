//! The stages put together as `app` does it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lb_userspace::maps::bpf::{Access, BpfMaps};
use lb_userspace::maps::create::create_all;
use lb_userspace::maps::{Limits, Maps};
use lb_userspace::model::{Families, Index, ObjectName, SourceEvent};
use lb_userspace::reconciler::{Outcome, Reconciler};
use lb_userspace::resolve::ResolvedPort;

use crate::cluster;

/// The maps that the data plane alone fills are as small as can be.
pub const LIMITS: Limits = Limits {
    families: Families::Both,
    frontends: 65_536,
    backends: 65_536,
    slots: 524_288,
    services: 65_536,
    flows: 0,
    conntrack: 64,
    transient: 64,
    affinity: 64,
    sockets: 64,
};

/// Empty maps in the kernel, pinned in a folder of their own.
pub fn maps_in_kernel(bpffs: &Path) -> BpfMaps {
    maps_in_kernel_of(bpffs, LIMITS)
}

/// The same, of these sizes.
pub fn maps_in_kernel_of(bpffs: &Path, limits: Limits) -> BpfMaps {
    let folder = bpffs.join("bench");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("to remove the pins of the last");
    }
    fs::create_dir(&folder).expect("a folder for the pins");
    create_all(&folder, &limits).expect("maps");
    BpfMaps::open(&folder, Access::Write).expect("maps that were just made")
}

/// What stands between a source and the maps.
pub struct Agent<M> {
    index: Index,
    reconciler: Reconciler<M>,
    now: Instant,
}

impl<M: Maps> Agent<M> {
    /// Knows of nothing.
    pub fn start(maps: M) -> Self {
        let families = maps.limits().families;
        Self {
            index: Index::new(cluster::NODE).with_families(families),
            reconciler: Reconciler::start(maps).expect("readable maps"),
            now: Instant::now(),
        }
    }

    /// Takes in what a source tells, up to the desired state.
    pub fn take_in(&mut self, events: impl IntoIterator<Item = SourceEvent>) {
        for event in events {
            let dirty = self.note(event);
            for service in &dirty {
                if let Some(ports) = self.resolve(service) {
                    self.desire(service, ports);
                }
            }
        }
    }

    /// Takes in an event and returns the Services that it concerns.
    pub fn note(&mut self, event: SourceEvent) -> Vec<ObjectName> {
        self.index.apply(event)
    }

    /// What a Service is resolved to, where that is known.
    pub fn resolve(&self, service: &ObjectName) -> Option<Vec<ResolvedPort>> {
        self.index.resolve_known(service)
    }

    /// Brings a Service into the desired state.
    pub fn desire(&mut self, service: &ObjectName, ports: Vec<ResolvedPort>) {
        let unserved = self.index.unserved(service);
        self.reconciler.set_unserved(service, unserved);
        self.reconciler.apply(service, ports);
    }

    /// Writes what differs, a second after the last time: what was freed ten passes ago is used again, as in a cluster with one
    /// change a second.
    pub fn write(&mut self) -> Outcome {
        self.now += Duration::from_secs(1);
        let unread = self.index.unread().expect("a complete source");
        self.reconciler.reconcile_but(self.now, unread)
    }

    /// Gives the maps back.
    pub fn into_maps(self) -> M {
        self.reconciler.into_maps()
    }
}
