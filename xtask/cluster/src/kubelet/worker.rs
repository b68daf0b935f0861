//! One pod from its binding to its end: a task that is told what happens, and after each news does what is due next.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::container::{Record, Start};
use super::ending::{Ending, grace};
use super::not_yet::NotYet;
use super::probe::Kind;
use super::publish::Published;
use super::sandbox::Sandbox;
use super::status::{Part, State};
use super::volumes::{Volume, prepare};

/// How soon something that failed is tried again, at first and at most.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(1);

/// What a pod's task is told.
pub(super) enum Message {
    /// The Pod object as it is now.
    Object(Box<Pod>),
    /// The Pod object is no more.
    Gone,
    /// The node goes: nothing is told to the API any more.
    Off,
    /// The test's word instead of the readiness probes'.
    SetReady(bool),
    /// A container has ended.
    Exited { index: usize, run: u64, code: i32 },
    /// A container's probe says something new.
    Probed {
        index: usize,
        run: u64,
        kind: Kind,
        answer: Result<(), String>,
    },
}

/// The task of one pod.
pub(super) struct Worker {
    pub shared: Arc<Shared>,
    pub pod: Pod,
    pub containers: Vec<Record>,
    pub sandbox: Option<Sandbox>,
    pub volumes: Option<BTreeMap<String, Volume>>,
    pub since: Timestamp,
    /// The init containers have done their work, once and for all.
    pub initialized: bool,
    /// No container is started any more.
    pub ending: Option<Ending>,
    /// What somebody else has declared the pod to be: `Failed` mostly.
    pub declared: Option<String>,
    pub published: Published,
    /// Its addresses, also when it has them no more.
    pub ips: Vec<IpAddr>,
    /// It had come to its end before this kubelet saw it: what is told of it stays.
    pub is_settled: bool,
    inbox: UnboundedReceiver<Message>,
    sender: UnboundedSender<Message>,
    ready: Option<bool>,
    is_gone: bool,
    is_off: bool,
    failures: u32,
    wake: Option<Instant>,
}

impl Worker {
    pub fn new(
        shared: Arc<Shared>,
        pod: Pod,
        sender: UnboundedSender<Message>,
        inbox: UnboundedReceiver<Message>,
    ) -> Worker {
        let mut containers = Vec::new();
        if let Some(spec) = &pod.spec {
            for container in spec.init_containers.iter().flatten() {
                let sidecar = container.restart_policy.as_deref() == Some("Always");
                let part = if sidecar { Part::Sidecar } else { Part::Init };
                containers.push(Record::new(container, part));
            }
            let mains = spec.containers.iter();
            containers.extend(mains.map(|container| Record::new(container, Part::Main)));
        }
        let mut worker = Worker {
            shared,
            containers,
            sandbox: None,
            volumes: None,
            since: Timestamp::now(),
            initialized: false,
            ending: None,
            declared: None,
            published: Published::default(),
            ips: Vec::new(),
            is_settled: false,
            inbox,
            sender,
            ready: None,
            is_gone: false,
            is_off: false,
            failures: 0,
            wake: None,
            pod: Pod::default(),
        };
        worker.take_in(pod);
        worker.is_settled = worker.declared.is_some();
        worker
    }

    /// Lives as long as the pod.
    pub async fn run(mut self) {
        loop {
            self.wake = None;
            if self.is_gone || self.is_off {
                return self.vanish().await;
            }
            self.step().await;
            let wake = self.wake;
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(message) => self.hear(message),
                    None => self.is_off = true,
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            while let Ok(message) = self.inbox.try_recv() {
                self.hear(message);
            }
        }
    }

    /// Has `step` called again at `when`, or before.
    pub fn wake_at(&mut self, when: Instant) {
        self.wake = Some(self.wake.map_or(when, |known| known.min(when)));
    }

    /// Has `step` called again soon, and later after each failure more.
    pub fn try_again(&mut self) {
        let pause = SOON.saturating_mul(1 << self.failures.min(8)).min(LATER);
        self.failures += 1;
        self.wake_at(Instant::now() + pause);
    }

    /// Removes the pod's namespace and volumes, if any.
    pub async fn clean_up(&mut self) {
        self.shared.forget_place(&self.pod);
        self.volumes = None;
        let (sandbox, shared) = (self.sandbox.take(), self.shared.clone());
        let directory = shared.pod_directory(&self.pod);
        let removed = tokio::task::spawn_blocking(move || {
            let removed = sandbox.map_or(Ok(()), |sandbox| sandbox.remove(&shared));
            // There is none where no container was ever started.
            let _ = std::fs::remove_dir_all(directory);
            removed
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(error = format!("{error:#}"), "a pod's namespace stays");
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Object(pod) => self.take_in(*pod),
            Message::Gone => self.is_gone = true,
            Message::Off => self.is_off = true,
            Message::SetReady(ready) => {
                self.ready = Some(ready);
                for container in &mut self.containers {
                    container.shown.ready = ready;
                }
            }
            Message::Exited { index, run, code } => {
                let container = &mut self.containers[index];
                if container.run == run {
                    container.ended(code);
                }
            }
            Message::Probed {
                index,
                run,
                kind,
                answer,
            } => self.hear_probe(index, run, kind, &answer),
        }
    }

    fn hear_probe(&mut self, index: usize, run: u64, kind: Kind, answer: &Result<(), String>) {
        let grace = grace(&self.pod);
        let container = &mut self.containers[index];
        if container.run != run || !container.shown.is_running() {
            return;
        }
        if let Err(error) = answer {
            let (pod, container) = (&self.pod.metadata.name, &container.shown.name);
            tracing::debug!(pod, container, ?kind, error, "a probe fails");
        }
        match (kind, answer.is_ok()) {
            (Kind::Readiness, ready) => container.shown.ready = self.ready.unwrap_or(ready),
            (Kind::Startup, true) => {
                container.shown.started = true;
                container.probe_running(index, &self.sender);
            }
            (Kind::Liveness, true) => {}
            // A pod that ends is not kept alive.
            (Kind::Startup | Kind::Liveness, false) if self.ending.is_none() => {
                container.end_within(grace);
            }
            (Kind::Startup | Kind::Liveness, false) => {}
        }
    }

    fn take_in(&mut self, pod: Pod) {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        if let Some(phase @ ("Failed" | "Succeeded")) = phase
            && self.published.phase() != Some(phase)
            && self.declared.is_none()
        {
            self.declared = Some(phase.to_owned());
        }
        self.pod = pod;
    }

    /// Does what is due, and tells the API.
    async fn step(&mut self) {
        let deleted = self.pod.metadata.deletion_timestamp.is_some();
        if self.ending.is_none() && (deleted || self.declared.is_some() || self.is_complete()) {
            self.ending = Some(Ending::now());
        }
        if self.ending.is_some() {
            self.end().await;
        } else {
            self.advance().await;
            self.publish().await;
        }
    }

    /// Starts what can be started.
    async fn advance(&mut self) {
        if self.sandbox.is_none() {
            let (shared, pod, attempt) = (self.shared.clone(), self.pod.clone(), self.failures);
            let made = tokio::task::spawn_blocking(move || Sandbox::create(&shared, &pod, attempt));
            match made.await.map_err(anyhow::Error::from).flatten() {
                Ok(sandbox) => {
                    self.shared.remember_place(&self.pod, sandbox.place());
                    self.ips = sandbox.facts.pod_ips.into();
                    self.sandbox = Some(sandbox);
                    self.failures = 0;
                }
                Err(error) => return self.wait_all(&NotYet::sandbox(&error)),
            }
        }
        if self.volumes.is_none()
            && let Some(sandbox) = &self.sandbox
        {
            let directory = self.shared.pod_directory(&self.pod).join("volumes");
            let (objects, host) = (&self.shared.objects, &self.shared.host_paths);
            match prepare(objects, &self.pod, &sandbox.facts, &directory, host).await {
                Ok(volumes) => {
                    self.volumes = Some(volumes);
                    self.failures = 0;
                }
                Err(why) => return self.wait_all(&why),
            }
        }
        for index in 0..self.containers.len() {
            if !self.see_to(index).await {
                return;
            }
        }
    }

    /// Starts a container where it should run. Returns whether those after it may start.
    async fn see_to(&mut self, index: usize) -> bool {
        let container = &self.containers[index];
        let shown = &container.shown;
        if shown.part == Part::Main && !self.initialized {
            self.initialized = true;
        }
        let settled = match (&shown.state, shown.part) {
            (State::Running(_), Part::Main) => Some(true),
            (State::Running(_), Part::Sidecar) => Some(self.initialized || shown.started),
            (State::Running(_), Part::Init) => Some(false),
            _ if shown.part == Part::Init && self.initialized => Some(true),
            (State::Terminated(end), Part::Init) if end.code == 0 => Some(true),
            (State::Terminated(_), part) if !self.restarts(index) => Some(part == Part::Main),
            _ => None,
        };
        if let Some(go_on) = settled {
            return go_on;
        }
        let go_on = self.initialized;
        if let Some(when) = container.not_before.filter(|when| *when > Instant::now()) {
            self.containers[index].back_off();
            self.wake_at(when);
            return go_on;
        }
        let (Some(sandbox), Some(volumes)) = (&self.sandbox, &self.volumes) else {
            return false;
        };
        let start = Start {
            kubelet: &self.shared,
            pod: &self.pod,
            sandbox,
            volumes,
            index,
            inbox: &self.sender,
        };
        match self.containers[index].start(&start).await {
            Ok(()) => {
                self.failures = 0;
                let shown = &mut self.containers[index].shown;
                if let Some(ready) = self.ready {
                    shown.ready = ready;
                }
                go_on || shown.part == Part::Sidecar && shown.started
            }
            Err(why) => {
                self.containers[index].wait_for(why);
                self.try_again();
                go_on
            }
        }
    }

    /// Whether a container that has ended is started again.
    fn restarts(&self, index: usize) -> bool {
        let shown = &self.containers[index].shown;
        let code = match &shown.state {
            State::Terminated(end) => end.code,
            _ => return true,
        };
        let policy = self.pod.spec.as_ref();
        let policy = policy.and_then(|spec| spec.restart_policy.as_deref());
        match (shown.part, policy) {
            (Part::Sidecar, _) | (Part::Main, Some("Always") | None) => true,
            // Init containers succeed once.
            (_, Some("Never")) => false,
            _ => code != 0,
        }
    }

    /// Whether the pod has done its work, or can't any more.
    fn is_complete(&self) -> bool {
        let over = |(index, container): (usize, &Record)| {
            matches!(container.shown.state, State::Terminated(_)) && !self.restarts(index)
        };
        let of = |part| {
            let all = self.containers.iter().enumerate();
            all.filter(move |(_, container)| container.shown.part == part)
        };
        let failed = |(index, container): (usize, &Record)| {
            over((index, container))
                && matches!(&container.shown.state, State::Terminated(end) if end.code != 0)
        };
        of(Part::Main).all(over) || of(Part::Init).any(failed)
    }

    fn wait_all(&mut self, why: &NotYet) {
        for container in &mut self.containers {
            if !container.shown.is_running() {
                container.wait_for(why.clone());
            }
        }
        self.try_again();
    }

    /// Nothing is left to be told: the object is no more, or the node goes.
    async fn vanish(mut self) {
        for container in &self.containers {
            container.kill();
        }
        // Programs of the host network are in nobody's namespace but their node's: their end is awaited here.
        while self
            .containers
            .iter()
            .any(|container| container.shown.is_running())
        {
            let limit = tokio::time::timeout(LATER, self.inbox.recv());
            match limit.await {
                Ok(Some(message)) => self.hear(message),
                Ok(None) | Err(_) => break,
            }
        }
        self.clean_up().await;
    }
}
