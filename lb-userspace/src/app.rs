//! The agent: puts the stages together and runs them until it is told to stop.
//!
//! It is the composition root and holds no logic of its own: sources tell what the cluster is, the reconciler writes what
//! follows from it, the device follower attaches the programs. When it ends, for whatever reason, the data plane goes on.

mod memory;
mod origin;
mod problems;
mod report;
mod room;
mod sockets;

use std::collections::BTreeSet;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use crate::datapath::{
    Attach, Cgroup, Datapath, Links, Loader, Lock, PinOutcome, PinPaths, SocketConfig, object,
};
use crate::devices::{DeviceFollower, DeviceWatcher, Selector};
use crate::http::{self, DataPlane, Health, HttpConfig, Metrics, Pages};
use crate::maps::bpf::{Access, BpfMaps, LocalPodMaps, RemotePodMaps};
use crate::maps::{Limits, Maps, Op};
use crate::model::Cidr;
use crate::model::index::Index;
use crate::preflight;
use crate::reconciler::Reconciler;
use crate::redirect::{self, Mode, Redirector};
use crate::source::kubernetes::ApiServer;
use crate::source::{Batch, SourceEvent};
use origin::Origin;
use problems::Problems;
use report::Report;
use sockets::Sockets;

/// Batches that may wait between the source and the reconciler.
const WAITING_BATCHES: usize = 64;
/// How often bits of the VIP filter that nobody needs any more are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// So many writes at once are those of a list of everything.
const MANY_WRITES: usize = 1000;

/// What the agent is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the BPF file system is mounted.
    pub bpffs: PathBuf,
    /// Name of the node that it runs on.
    pub node_name: String,
    /// Where the cluster's objects come from.
    pub source: Source,
    /// Which devices are workload devices.
    pub devices: Selector,
    /// How programs are attached.
    pub attach: Attach,
    /// How much the maps are to hold.
    pub limits: Limits,
    /// Where probes and scrapes are answered.
    pub http: HttpConfig,
    /// The Service CIDRs; none to take them from the source.
    pub service_cidrs: Option<BTreeSet<Cidr>>,
    /// Whose sockets are served, and through which cgroup.
    pub sockets: SocketConfig,
    /// Whether packets go past the host's stack where they can.
    pub redirect: Mode,
}

/// Where the cluster's objects come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A directory of manifests.
    Manifests(PathBuf),
    /// An API server.
    Kubernetes(ApiServer),
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// If it can't start: a missing capability, mount or kernel feature, a broken kubeconfig, another agent on the same pins.
/// Once it runs, only devices that can't be followed any more end it.
pub async fn run(config: Config) -> Result<()> {
    memory::return_large_pieces();
    let cgroup = check(&config)?;
    let paths = PinPaths::new(&config.bpffs);
    // Two agents on the same pins would undo each other's writes.
    let _lock = Lock::take(&paths)?;
    let metrics = Arc::new(Metrics::default());
    let origin = Origin::connect(&config.source).await?;
    let events = origin.events(&config.node_name, metrics.clone());
    events.starting();
    let servers = config.http.listen(&events)?;
    let mut datapath = Loader {
        object: object::for_kernel()?,
        paths: &paths,
        limits: config.limits,
        sockets: config.sockets.scope.filter(|_| cgroup.is_found()),
        redirect: config.redirect != Mode::Off,
    }
    .load()
    .context("cannot load the data plane")?;
    let maps_folder = paths.layout();
    let maps = BpfMaps::open(&maps_folder, Access::Write).context("cannot open the maps")?;
    let mut reconciler = Reconciler::start(maps).context("cannot read the maps")?;
    let generation = sign_on(&mut reconciler)?;

    let mut sockets = Sockets::new(&config.sockets, &cgroup, &mut datapath, paths.clone());
    let links = Links::new(datapath.programs().try_clone()?, paths, config.attach)?;
    let watcher = DeviceWatcher::new(config.devices.clone())?;
    let links = Arc::new(links);
    let follower = DeviceFollower::new(watcher, links.clone());
    let mut attached = follower.status();
    let redirector = Redirector::new(redirect::Parts {
        mode: config.redirect,
        families: config.limits.families,
        delivery: datapath.take_delivery(),
        pods: LocalPodMaps::open(&maps_folder, Access::Write).context("cannot open the maps")?,
        ways: RemotePodMaps::open(&maps_folder, Access::Write).context("cannot open the maps")?,
        links,
        attached: attached.clone(),
    })
    .context("cannot empty the maps of pods")?;
    let mut redirected = redirector.status();
    redirected.mark_changed();
    let redirect_status = redirected.clone();
    let mut redirect = std::pin::pin!(redirector.run());
    let mut devices = std::pin::pin!(follower.run());

    let observed = Arc::new(origin.observed());
    let health = Arc::new(Health::new(observed.clone()));
    let mut room = std::pin::pin!(room::watch(maps_folder.clone(), events.clone()));
    let data_plane = DataPlane::new(
        Some(maps_folder),
        attached.clone(),
        redirect_status,
        observed.clone(),
    );
    let pages = Pages {
        health: health.clone(),
        metrics: metrics.clone(),
        data_plane: Arc::new(data_plane),
    };
    let _http = http::start(servers, pages).context("cannot start the HTTP servers")?;

    let (sender, mut batches) = mpsc::channel(WAITING_BATCHES);
    let mut source = std::pin::pin!(origin.tell(
        &config.node_name,
        config.service_cidrs.is_none(),
        sender,
        &observed
    ));

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut collect = interval(COLLECT_EVERY);
    collect.set_missed_tick_behavior(MissedTickBehavior::Delay);
    collect.reset();

    let mut stage = Stage {
        index: Index::new(&config.node_name)
            .with_families(config.limits.families)
            .with_service_cidrs(config.service_cidrs.clone()),
        reconciler,
        problems: Problems::new(events),
        report: Report::new(health, metrics, observed.clone()),
        has_written: false,
        has_written_much: false,
    };
    // Maps that hold what an earlier agent wrote serve new devices at once; empty ones must be filled first.
    let mut serving = generation > 0 && is_reused(&datapath);
    let mut retry_at = None;
    let mut carried_over = false;
    info!(node = %config.node_name, source = ?config.source, serving, "started");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            ended = &mut source => ended.context("the source of Services ended")?,
            Err(error) = &mut devices, if serving => {
                return Err(error).context("workload devices can't be followed any more");
            }
            Some(batch) = batches.recv() => {
                stage.take_in(batch);
                // What has come meanwhile is written in one go.
                while let Ok(batch) = batches.try_recv() {
                    stage.take_in(batch);
                }
                retry_at = stage.write();
            }
            () = until(retry_at) => retry_at = stage.write(),
            Ok(_) = attached.wait_for(|devices| devices.is_complete), if !carried_over => {
                datapath.carry_over_again();
                carried_over = true;
            }
            () = &mut redirect, if serving => {}
            () = &mut room => {}
            Ok(()) = redirected.changed() => {
                let state = redirected.borrow_and_update().state;
                note(&mut stage.reconciler, |config| config.redirect = state as u32);
            }
            () = until(sockets.look_at()) => sockets.look(),
            _ = collect.tick() => {
                stage.collect();
                sockets.look_after(&mut stage.reconciler);
            }
        }
        if std::mem::take(&mut stage.has_written) {
            sockets.backends_changed();
        }
        if !serving && stage.index.is_synced() {
            serving = true;
            info!("Services are written, devices get their programs");
        }
        if serving {
            sockets.serve(&mut stage.reconciler);
        }
        if std::mem::take(&mut stage.has_written_much) {
            memory::return_free();
        }
    }
    info!("stopped; the data plane goes on");
    Ok(())
}

/// The stages between the source and the maps.
struct Stage {
    index: Index,
    reconciler: Reconciler<BpfMaps>,
    problems: Problems,
    report: Report,
    /// Something was written since this was last asked.
    has_written: bool,
    /// As much was written as after a list.
    has_written_much: bool,
}

impl Stage {
    fn take_in(&mut self, batch: Batch) {
        for event in batch {
            self.report.told(&event);
            if let SourceEvent::Problems { object, messages } = &event {
                self.problems.of_object(object, messages);
            }
            let dirty = self.index.apply(event);
            for service in dirty {
                let unserved = self.index.unserved(&service);
                self.reconciler.set_unserved(&service, unserved);
                if let Some(ports) = self.index.resolve_known(&service) {
                    self.report.resolved(&service, &ports);
                    self.reconciler.apply(&service, ports);
                }
            }
        }
        self.report.taken_in(self.index.is_synced());
    }

    /// Writes what differs and returns when to write again though nothing changes. Before the first list nothing is
    /// written, and nothing is deleted that an earlier agent wrote of what can't be read (S-8).
    fn write(&mut self) -> Option<Instant> {
        if !self.index.is_synced() {
            return None;
        }
        let ranges = self.index.service_cidrs();
        self.reconciler.set_service_cidrs(ranges);
        let now = Instant::now();
        let outcome = match self.index.unread() {
            Some(unread) => self.reconciler.reconcile_but(now, unread),
            None => self.reconciler.reconcile_known(now),
        };
        let took = now.elapsed();
        if outcome.changed > 0 {
            self.has_written = true;
            self.has_written_much |= outcome.changed >= MANY_WRITES;
            info!(writes = outcome.changed, "wrote Services");
        }
        self.report.written(&outcome, took);
        self.problems.of_services(&outcome.problems);
        self.problems.of_service_cidrs(&outcome.cidr_problems);
        outcome.retry_after.map(|wait| Instant::now() + wait)
    }

    fn collect(&mut self) {
        if !self.index.is_synced() {
            return;
        }
        match self.reconciler.collect_vip_bits(Instant::now()) {
            Ok(0) => {}
            Ok(bits) => info!(bits, "cleared bits of VIPs that are gone"),
            Err(error) => warn!(%error, "cannot look for VIPs that are gone"),
        }
    }
}

fn check(config: &Config) -> Result<Cgroup> {
    let facts = preflight::gather(&config.bpffs, config.attach, &config.sockets)?;
    let findings = preflight::evaluate(&facts);
    let (fatal, rest): (Vec<_>, Vec<_>) = findings
        .iter()
        .partition(|finding| finding.severity == preflight::Severity::Fatal);
    for finding in rest {
        warn!("{finding}");
    }
    // Those that end the agent are told once, by its error.
    if preflight::is_fatal(&findings) {
        let sentences: Vec<&str> = fatal.iter().map(|it| it.sentence.as_str()).collect();
        bail!("the agent can't start: {}", sentences.join("; "));
    }
    Ok(facts.cgroup)
}

/// Notes in the config which agent runs, and returns how often the desired state was written before.
fn sign_on(reconciler: &mut Reconciler<BpfMaps>) -> Result<u64> {
    let mut config = reconciler.maps().config()?;
    config.agent_pid = std::process::id();
    config.started_at = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let written = reconciler.maps_mut().apply(&[Op::PutConfig(config)]);
    written
        .into_iter()
        .collect::<Result<(), _>>()
        .context("cannot write the config")?;
    Ok(config.generation)
}

/// Notes in the config what has become of something, for tools.
fn note(reconciler: &mut Reconciler<BpfMaps>, change: impl FnOnce(&mut lb_common::config::Config)) {
    let maps = reconciler.maps_mut();
    let written = maps.config().and_then(|mut config| {
        change(&mut config);
        let written: Result<Vec<()>, _> =
            maps.apply(&[Op::PutConfig(config)]).into_iter().collect();
        written
    });
    if let Err(error) = written {
        warn!(%error, "cannot note the state in the config");
    }
}

fn is_reused(datapath: &Datapath) -> bool {
    datapath
        .pins()
        .values()
        .all(|outcome| matches!(outcome, PinOutcome::Reused))
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}
