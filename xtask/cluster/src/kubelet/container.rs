//! One container of a pod: starting it, signalling it, and what its probes have said. When to do so is `worker`'s business.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::agnhost;
use super::image::{self, Launch};
use super::not_yet::NotYet;
use super::probe::{self, Action, Kind, Target};
use super::program::{Child, Surroundings};
use super::sandbox::Sandbox;
use super::security::Security;
use super::status::{Part, Shown, State, Termination};
use super::volumes::{Mount, Volume, mounts, nest};
use super::worker::Message;
use super::{Shared, environment};

/// A start after this long a run is the first one again.
const CALM: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A container of a pod.
pub(super) struct Record {
    pub spec: Container,
    pub shown: Shown,
    /// Which start of it this is: messages about earlier ones are late.
    pub run: u64,
    /// When it may be started again.
    pub not_before: Option<Instant>,
    pause: Duration,
    running: Option<(Running, Target)>,
    probes: JoinSet<()>,
}

/// What ends a container that runs.
#[derive(Debug, Clone)]
enum Running {
    Server(Arc<agnhost::Control>),
    Program(Arc<Child>),
}

/// What a container is started with.
pub(super) struct Start<'a> {
    pub kubelet: &'a Arc<Shared>,
    pub pod: &'a Pod,
    pub sandbox: &'a Sandbox,
    pub volumes: &'a std::collections::BTreeMap<String, Volume>,
    pub index: usize,
    pub inbox: &'a UnboundedSender<Message>,
}

impl Record {
    pub fn new(spec: &Container, part: Part) -> Record {
        let waiting = NotYet {
            reason: "ContainerCreating",
            message: String::new(),
        };
        Record {
            spec: spec.clone(),
            shown: Shown {
                name: spec.name.clone(),
                image: spec.image.clone().unwrap_or_default(),
                part,
                state: State::Waiting(waiting),
                last: None,
                restarts: 0,
                started: false,
                ready: false,
            },
            run: 0,
            not_before: None,
            pause: Duration::ZERO,
            running: None,
            probes: JoinSet::new(),
        }
    }

    /// Starts it, for the first time or again.
    ///
    /// # Errors
    /// When something is not there yet.
    pub async fn start(&mut self, start: &Start<'_>) -> Result<(), NotYet> {
        let Start {
            kubelet,
            pod,
            sandbox,
            ..
        } = start;
        let variables =
            environment::variables(&kubelet.objects, pod, &self.spec, &sandbox.facts).await?;
        let launch = image::launch(&self.spec, &kubelet.options.images, &variables)?;
        let mut mounts = mounts(&self.spec, start.volumes, &variables)?;
        if let Launch::Run(program) = &launch {
            let scratch = kubelet
                .pod_directory(pod)
                .join("image")
                .join(&self.spec.name);
            for directory in &program.directories {
                mounts.push(Mount::scratch(&scratch, directory)?);
            }
        }
        let spec = pod.spec.as_ref();
        let spec = spec.ok_or_else(|| NotYet::config("a pod without a spec"))?;
        let surroundings = Arc::new(Surroundings {
            netns: sandbox.netns.clone(),
            mounts: nest(mounts)?,
            security: Security::of(spec, self.spec.security_context.as_ref())?,
            directory: self.spec.working_dir.as_deref().unwrap_or("/").into(),
            cgroup: kubelet.host_paths.cgroup(),
            resolver: kubelet.resolver(pod),
            log: kubelet.log(pod, &self.spec.name),
            variables,
        });
        let running = self.launch(launch, start, &surroundings).await?;
        let target = Target::new(&self.spec, surroundings, sandbox.facts.pod_ips[0]);
        if let Some(hook) = self
            .spec
            .lifecycle
            .as_ref()
            .and_then(|all| all.post_start.as_ref())
        {
            let (target, action) = (target.clone(), Action::of_hook(hook));
            // Its failure is not told apart from none: no test has asked for it.
            self.probes.spawn(async move {
                let _ = target.ask(&action, Duration::from_secs(60)).await;
            });
        }
        if matches!(self.shown.state, State::Terminated(_)) || self.shown.last.is_some() {
            self.shown.restarts += 1;
        }
        if let State::Terminated(end) = self.shown.state {
            self.shown.last = Some(end);
        }
        self.shown.state = State::Running(Timestamp::now());
        self.running = Some((running, target));
        self.shown.started = self.spec.startup_probe.is_none();
        self.shown.ready = self.spec.readiness_probe.is_none();
        if let Some(probe) = &self.spec.startup_probe {
            self.probe(Kind::Startup, probe.clone(), start.index, start.inbox);
        } else {
            self.probe_running(start.index, start.inbox);
        }
        Ok(())
    }

    /// The probes of a container that has come up.
    pub fn probe_running(&mut self, index: usize, inbox: &UnboundedSender<Message>) {
        if let Some(probe) = self.spec.readiness_probe.clone() {
            self.probe(Kind::Readiness, probe, index, inbox);
        }
        if let Some(probe) = self.spec.liveness_probe.clone() {
            self.probe(Kind::Liveness, probe, index, inbox);
        }
    }

    /// It has ended.
    pub fn ended(&mut self, code: i32) {
        self.probes.abort_all();
        self.running = None;
        let now = Timestamp::now();
        let began = match self.shown.state {
            State::Running(since) => since,
            _ => now,
        };
        let ran = now.duration_since(began).unsigned_abs();
        self.pause = match self.pause {
            _ if ran >= CALM => Duration::ZERO,
            Duration::ZERO if self.shown.last.is_none() => Duration::ZERO,
            Duration::ZERO => FIRST_PAUSE,
            pause => (pause * 2).min(LONGEST_PAUSE),
        };
        self.not_before = Some(Instant::now() + self.pause);
        self.shown.started = false;
        self.shown.ready = false;
        self.shown.state = State::Terminated(Termination {
            code,
            began,
            ended: now,
        });
    }

    /// It will be started again, but not at once.
    pub fn back_off(&mut self) {
        self.wait_for(NotYet {
            reason: "CrashLoopBackOff",
            message: format!("started again {:?} after its end", self.pause),
        });
    }

    /// It can't be started yet.
    pub fn wait_for(&mut self, why: NotYet) {
        if let State::Terminated(end) = self.shown.state {
            self.shown.last = Some(end);
        }
        self.shown.state = State::Waiting(why);
    }

    /// Asks it to end, after its `preStop` hook if it has one, which may take until `deadline`.
    pub fn terminate(&mut self, deadline: Instant) {
        let Some((running, target)) = &self.running else {
            return;
        };
        let hook = self.spec.lifecycle.as_ref();
        let Some(hook) = hook.and_then(|all| all.pre_stop.as_ref()) else {
            return running.terminate();
        };
        let (running, target, action) = (running.clone(), target.clone(), Action::of_hook(hook));
        self.probes.spawn(async move {
            let left = deadline.saturating_duration_since(Instant::now());
            // A hook that fails delays nothing.
            let _ = target.ask(&action, left).await;
            running.terminate();
        });
    }

    /// Asks it to end, and ends it when it has not.
    pub fn end_within(&mut self, grace: Duration) {
        self.terminate(Instant::now() + grace);
        if let Some((running, _)) = self.running.clone() {
            self.probes.spawn(async move {
                tokio::time::sleep(grace).await;
                running.kill();
            });
        }
    }

    /// Ends it at once.
    pub fn kill(&self) {
        if let Some((running, _)) = &self.running {
            running.kill();
        }
    }

    async fn launch(
        &mut self,
        launch: Launch,
        start: &Start<'_>,
        surroundings: &Arc<Surroundings>,
    ) -> Result<Running, NotYet> {
        self.run += 1;
        let (index, run, inbox) = (start.index, self.run, start.inbox.clone());
        let told = move |code| {
            // Nobody listens once the pod is gone.
            let _ = inbox.send(Message::Exited { index, run, code });
        };
        match launch {
            Launch::Serve(role) => {
                let facts = &start.sandbox.facts;
                let (netns, log) = (surroundings.netns.clone(), surroundings.log.clone());
                let (control, end) = agnhost::start(role, netns, &facts.hostname, log);
                tokio::spawn(async move { told(end.await.unwrap_or(128 + libc::SIGKILL)) });
                Ok(Running::Server(Arc::new(control)))
            }
            Launch::Run(program) => {
                let around = surroundings.clone();
                let spawned = tokio::task::spawn_blocking(move || {
                    around.spawn(&program.path, &program.arguments)
                });
                let spawned = spawned
                    .await
                    .map_err(|error| NotYet::start(&error.into()))?;
                let child = spawned
                    .and_then(|spawned| Ok(Child::new(spawned)?))
                    .map_err(|error| NotYet::start(&error))?;
                let child = Arc::new(child);
                let waited = child.clone();
                tokio::spawn(async move { told(waited.wait().await) });
                Ok(Running::Program(child))
            }
        }
    }

    fn probe(
        &mut self,
        kind: Kind,
        probe: k8s_openapi::api::core::v1::Probe,
        index: usize,
        inbox: &UnboundedSender<Message>,
    ) {
        let Some((_, target)) = &self.running else {
            return;
        };
        let (inbox, run, target) = (inbox.clone(), self.run, target.clone());
        let report = move |answer| {
            // Nobody listens once the pod is gone.
            let _ = inbox.send(Message::Probed {
                index,
                run,
                kind,
                answer,
            });
        };
        self.probes.spawn(probe::watch(target, kind, probe, report));
    }
}

impl Running {
    fn terminate(&self) {
        match self {
            Running::Server(control) => control.terminate(),
            Running::Program(child) => child.signal(libc::SIGTERM),
        }
    }

    fn kill(&self) {
        match self {
            Running::Server(control) => control.kill(),
            Running::Program(child) => child.signal(libc::SIGKILL),
        }
    }
}
