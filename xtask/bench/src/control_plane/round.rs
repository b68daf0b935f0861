//! One start of one data plane on a fresh node: what is done to it, in which order, and what is noted.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::probe::wait_for_answer;
use super::programmed::Programmed;
use super::proxy::{self, Kind, Place, Proxy};
use super::results::{Change, Round};
use super::scrape::Passes;
use super::site::{BACKENDS, NODE, PROBED, Site, Stand};
use super::usage::{Usage, is_running};
use super::{Options, changes};

/// How long a cold start may take.
const START: Duration = Duration::from_secs(300);
/// How long a change may take.
const CHANGE: Duration = Duration::from_secs(60);
/// What comes after the first answer is part of the start: other families, caches, garbage.
const SETTLE: Duration = Duration::from_secs(3);
/// How often the map is looked at: the error of what is measured by it.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// Between changes while others happen.
const BUSY_REST: Duration = Duration::from_millis(300);

/// Does all of it, from the start to the end.
///
/// # Errors
/// When the data plane does not start or serve, with the end of its log.
pub fn run(site: &Site<'_>, kind: Kind, options: &Options) -> Result<Round> {
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let number = STARTS.fetch_add(1, Ordering::Relaxed);
    let stand = site.stand()?;
    set_backend(site, &stand, 0)?;
    let [directory, bpffs] = proxy::directory(&format!("start-{number}"))?;
    let kubeconfig = directory.join("kubeconfig");
    site.write_kubeconfig(&stand, &kubeconfig)?;
    let place = Place {
        netns: stand.node(),
        node: NODE,
        kubeconfig: &kubeconfig,
        directory: &directory,
        bpffs: &bpffs,
    };
    let started = Instant::now();
    let mut proxy = options.programs.start(kind, &place)?;
    let run = Run {
        site,
        stand: &stand,
        kind,
        id: proxy.id(),
    };
    let measured = run.all(&proxy, started, &bpffs, options);
    let round = measured.map_err(|error| proxy.explain(error))?;
    proxy.stop()?;
    Ok(round)
}

struct Run<'a> {
    site: &'a Site<'a>,
    stand: &'a Stand,
    kind: Kind,
    id: u32,
}

impl Run<'_> {
    fn all(
        &self,
        proxy: &Proxy,
        started: Instant,
        bpffs: &Path,
        options: &Options,
    ) -> Result<Round> {
        let mut round = Round::default();
        let maps = self.start(proxy, started, bpffs, &mut round)?;
        self.idle(Duration::from_secs(options.idle_seconds.into()), &mut round)?;
        let count = self.kind.changes(options.changes);
        self.isolated(count, maps.as_ref(), &mut round)?;
        let seconds = Duration::from_secs(options.churn_seconds.into());
        self.busy(options.churn, seconds, &mut round)?;
        let end = Usage::of(self.id)?;
        round.resident_end = megabytes(end.resident);
        round.resident_peak = megabytes(end.resident_peak);
        Ok(round)
    }

    fn start(
        &self,
        proxy: &Proxy,
        started: Instant,
        bpffs: &Path,
        round: &mut Round,
    ) -> Result<Option<Programmed>> {
        let deadline = started + START;
        let (answered, listed) = thread::scope(|scope| {
            let listed = scope.spawn(|| self.first_write(bpffs, deadline));
            let answered = self.answer(0, deadline);
            (
                answered.map(|at| (at, self.stand.meter.last_large())),
                listed.join(),
            )
        });
        let (answered, arrived_by_then) = answered?;
        round.cold_start = (answered - started).as_secs_f64();
        round.cpu_first_answer = Usage::of(self.id)?.cpu_seconds();
        let listed = listed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let maps = match listed {
            Some((maps, written, arrived)) => {
                round.written = Some((written - started).as_secs_f64());
                round.list_to_programmed = arrived.map(|at| milliseconds(written - at));
                Some(maps)
            }
            None => {
                round.list_to_programmed =
                    arrived_by_then.map(|at| milliseconds(answered.saturating_duration_since(at)));
                None
            }
        };
        let programmed = proxy.programmed()?;
        ensure!(
            programmed > self.site.services as usize,
            "only {programmed} of {} Services are programmed at the first answer",
            self.site.services + 1
        );
        thread::sleep(SETTLE);
        let usage = Usage::of(self.id)?;
        round.cpu_start = usage.cpu_seconds();
        round.resident_start = megabytes(usage.resident);
        round.anonymous_start = megabytes(usage.anonymous);
        round.pass_at_start = 1000.0 * Passes::of(self.stand.node())?.seconds;
        round.octets_at_start = self.stand.meter.octets();
        Ok(maps)
    }

    /// When everything was in the maps, and when the last octets had come that this took. `None` for kube-proxy.
    fn first_write(
        &self,
        bpffs: &Path,
        deadline: Instant,
    ) -> Result<Option<(Programmed, Instant, Option<Instant>)>> {
        if self.kind != Kind::Lb {
            return Ok(None);
        }
        let mut maps = None;
        while Instant::now() < deadline && is_running(self.id) {
            match &maps {
                None => maps = Programmed::open(bpffs)?,
                Some(open) if Programmed::writes(open)? > 0 => {
                    let now = Instant::now();
                    return Ok(maps.map(|maps| (maps, now, self.stand.meter.last_large())));
                }
                Some(_) => {}
            }
            thread::sleep(LOOK_EVERY);
        }
        anyhow::bail!("nothing is in the maps")
    }

    fn idle(&self, time: Duration, round: &mut Round) -> Result<()> {
        let before = Usage::of(self.id)?;
        thread::sleep(time);
        let after = Usage::of(self.id)?;
        round.idle_cpu = after.percent_since(&before);
        round.idle_wakeups = after.wakeups_since(&before);
        Ok(())
    }

    fn isolated(&self, count: u32, maps: Option<&Programmed>, round: &mut Round) -> Result<()> {
        let before = Passes::of(self.stand.node())?;
        let mut octets = 0;
        for number in 1..=count {
            thread::sleep(self.kind.rest());
            let octets_before = self.stand.meter.octets();
            round.changes.push(self.change(number, maps)?);
            octets += self.stand.meter.octets() - octets_before;
        }
        if count > 0 {
            let after = Passes::of(self.stand.node())?.since(&before);
            round.passes_per_change = Some(after.count / f64::from(count));
            round.pass_per_change = Some(1e6 * after.seconds / after.count);
            round.writes_per_change = Some(after.writes / f64::from(count));
            round.octets_per_change = Some(octets as f64 / f64::from(count));
        }
        Ok(())
    }

    /// The change with this number, and when each stage saw it.
    fn change(&self, number: u32, maps: Option<&Programmed>) -> Result<Change> {
        let backend = number as usize % 2;
        let deadline = Instant::now() + CHANGE;
        let writes = maps.map(Programmed::writes).transpose()?;
        thread::scope(|scope| {
            let answered = scope.spawn(|| self.answer(backend, deadline));
            let written = scope.spawn(|| match (maps, writes) {
                (Some(maps), Some(writes)) => next_write(maps, writes, deadline).map(Some),
                _ => Ok(None),
            });
            self.stand.meter.arm();
            let patched = Instant::now();
            set_backend(self.site, self.stand, backend)?;
            let answered = join(answered)?;
            let written = join(written)?;
            let event = self
                .stand
                .meter
                .first()
                .context("the data plane knows of a change that nobody told it of")?;
            Ok(Change {
                event: milliseconds(event.saturating_duration_since(patched)),
                written: written.map(|at| milliseconds(at - patched)),
                answered: milliseconds(answered - patched),
            })
        })
    }

    fn busy(&self, per_second: u32, time: Duration, round: &mut Round) -> Result<()> {
        if time.is_zero() {
            return Ok(());
        }
        let stop = AtomicBool::new(false);
        let site = self.site;
        thread::scope(|scope| {
            let churn = scope.spawn(|| {
                let churn = changes::churn(&site.client, site.services, per_second, &stop);
                site.runtime.block_on(churn)
            });
            let measured = self.busy_changes(time, round);
            stop.store(true, Ordering::Relaxed);
            let changed = join(churn)?;
            measured?;
            round.churned = changed;
            Ok(())
        })
    }

    fn busy_changes(&self, time: Duration, round: &mut Round) -> Result<()> {
        let before = Usage::of(self.id)?;
        let end = Instant::now() + time;
        // Goes on with the other backend than the last isolated change.
        let mut number = round.changes.len() as u32;
        while Instant::now() < end {
            number += 1;
            round.busy.push(self.change(number, None)?.answered);
            thread::sleep(BUSY_REST);
        }
        round.busy_cpu = Usage::of(self.id)?.percent_since(&before);
        Ok(())
    }

    fn answer(&self, backend: usize, deadline: Instant) -> Result<Instant> {
        let client = &self.stand.client.netns;
        let go_on = || Instant::now() < deadline && is_running(self.id);
        wait_for_answer(client, self.site.probed, BACKENDS[backend], go_on)
    }
}

fn set_backend(site: &Site<'_>, stand: &Stand, backend: usize) -> Result<()> {
    let endpoints = stand.endpoints(backend);
    let change = changes::set_endpoints(&site.client, PROBED, &endpoints);
    site.runtime.block_on(change)
}

fn next_write(maps: &Programmed, before: u64, deadline: Instant) -> Result<Instant> {
    while maps.writes()? == before {
        ensure!(Instant::now() < deadline, "the maps do not change");
        thread::sleep(LOOK_EVERY);
    }
    Ok(Instant::now())
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn milliseconds(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}

fn megabytes(octets: u64) -> f64 {
    octets as f64 / 1e6
}
