//! The status of a pod, computed from its containers. Pure: writes nothing, and knows no clock but the one passed in.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::not_yet::NotYet;

/// When in a pod's life a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Once, before the main ones.
    Init,
    /// From before the main ones until after them.
    Sidecar,
    Main,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Waiting(NotYet),
    Running(Timestamp),
    Terminated(Termination),
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Termination {
    pub code: i32,
    pub began: Timestamp,
    pub ended: Timestamp,
}

/// A container, as its status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub name: String,
    pub image: String,
    pub part: Part,
    pub state: State,
    /// How it ended last, if it was started again.
    pub last: Option<Termination>,
    pub restarts: i32,
    /// Its startup probe, if any, has succeeded.
    pub started: bool,
    /// By its readiness probe or by the test's word.
    pub ready: bool,
}

/// What a status is computed from.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub pod: &'a Pod,
    pub containers: &'a [&'a Shown],
    /// Empty while there is no namespace.
    pub pod_ips: &'a [IpAddr],
    pub host_ips: &'a [IpAddr],
    pub since: Timestamp,
    pub initialized: bool,
    /// No container will be started again.
    pub ending: bool,
    /// What somebody else has declared it to be, for good.
    pub declared: Option<&'a str>,
    /// As they were told last.
    pub before: &'a [PodCondition],
    pub now: Timestamp,
}

impl Shown {
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    pub fn is_ready(&self) -> bool {
        self.is_running() && self.started && self.ready
    }

    fn exit_code(&self) -> Option<i32> {
        match &self.state {
            State::Terminated(end) => Some(end.code),
            _ => self.last.map(|end| end.code),
        }
    }
}

/// The whole status.
pub(super) fn status(facts: &Facts<'_>) -> PodStatus {
    let phase = phase(facts);
    let of = |main: bool| -> Vec<ContainerStatus> {
        let shown = facts.containers.iter();
        shown
            .filter(|shown| (shown.part == Part::Main) == main)
            .map(|shown| container(facts.pod, shown))
            .collect()
    };
    let inits = of(false);
    let ip = |ips: &[IpAddr]| ips.first().map(IpAddr::to_string);
    PodStatus {
        conditions: Some(conditions(facts, phase)),
        container_statuses: Some(of(true)),
        init_container_statuses: (!inits.is_empty()).then_some(inits),
        host_ip: ip(facts.host_ips),
        host_ips: Some(
            facts
                .host_ips
                .iter()
                .map(|ip| HostIP { ip: ip.to_string() })
                .collect(),
        ),
        pod_ip: ip(facts.pod_ips),
        pod_ips: (!facts.pod_ips.is_empty()).then(|| {
            facts
                .pod_ips
                .iter()
                .map(|ip| PodIP { ip: ip.to_string() })
                .collect()
        }),
        phase: Some(phase.to_owned()),
        start_time: Some(Time(facts.since)),
        ..PodStatus::default()
    }
}

fn phase<'a>(facts: &Facts<'a>) -> &'a str {
    if let Some(declared) = facts.declared {
        return declared;
    }
    let over = facts.ending && !facts.containers.iter().any(|shown| shown.is_running());
    let mains = facts
        .containers
        .iter()
        .filter(|shown| shown.part == Part::Main);
    let mut codes = mains.clone().map(|shown| shown.exit_code());
    match over {
        // Nothing ever ran where a pod is deleted early.
        true if codes.all(|code| code == Some(0)) => "Succeeded",
        true => "Failed",
        false
            if mains
                .clone()
                .any(|shown| matches!(shown.state, State::Waiting(_)) && shown.last.is_none()) =>
        {
            "Pending"
        }
        false => "Running",
    }
}

fn conditions(facts: &Facts<'_>, phase: &str) -> Vec<PodCondition> {
    let unready: Vec<&str> = facts
        .containers
        .iter()
        .filter(|shown| shown.part != Part::Init && !shown.is_ready())
        .map(|shown| shown.name.as_str())
        .collect();
    let over = matches!(phase, "Succeeded" | "Failed");
    let all_ready = match (over, unready.as_slice()) {
        (true, _) if phase == "Succeeded" => Err(("PodCompleted", String::new())),
        (true, _) => Err(("PodFailed", String::new())),
        (false, []) => Ok(()),
        (false, unready) => {
            let message = format!("containers with unready status: {unready:?}");
            Err(("ContainersNotReady", message.replace('"', "")))
        }
    };
    let initialized = match facts.initialized {
        true => Ok(()),
        false => Err((
            "ContainersNotInitialized",
            "init containers have not completed".to_owned(),
        )),
    };
    let network = match facts.pod_ips.is_empty() {
        false => Ok(()),
        true => Err(("", String::new())),
    };
    let ready = all_ready.clone().and_then(|()| gates(facts.pod));
    [
        ("PodScheduled", Ok(())),
        ("PodReadyToStartContainers", network),
        ("Initialized", initialized),
        ("ContainersReady", all_ready),
        ("Ready", ready),
    ]
    .into_iter()
    .map(|(kind, holds)| condition(facts, kind, holds))
    .collect()
}

/// Whether all readiness gates are open.
fn gates(pod: &Pod) -> Result<(), (&'static str, String)> {
    let gates = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.readiness_gates.as_deref());
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    for gate in gates.unwrap_or_default() {
        let open = conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == gate.condition_type && condition.status == "True");
        if !open {
            let message = format!(
                "the status of pod readiness gate {:?} is not True",
                gate.condition_type
            );
            return Err(("ReadinessGatesNotReady", message));
        }
    }
    Ok(())
}

fn condition(
    facts: &Facts<'_>,
    kind: &str,
    holds: Result<(), (&'static str, String)>,
) -> PodCondition {
    let status = if holds.is_ok() { "True" } else { "False" };
    let before = facts.before.iter().find(|known| known.type_ == kind);
    let since = before
        .filter(|known| known.status == status)
        .and_then(|known| known.last_transition_time.clone());
    let (reason, message) = holds.err().unwrap_or_default();
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        last_transition_time: since.or(Some(Time(facts.now))),
        reason: text(reason),
        message: text(&message),
        ..PodCondition::default()
    }
}

fn container(pod: &Pod, shown: &Shown) -> ContainerStatus {
    let id = format!("lab://{}/{}", pod.uid().unwrap_or_default(), shown.name);
    let state = match &shown.state {
        State::Waiting(why) => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(why.reason.to_owned()),
                message: (!why.message.is_empty()).then(|| why.message.clone()),
            }),
            ..ContainerState::default()
        },
        State::Running(since) => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(*since)),
            }),
            ..ContainerState::default()
        },
        State::Terminated(end) => terminated(end, &id),
    };
    let ready = match shown.part {
        Part::Init => matches!(&shown.state, State::Terminated(end) if end.code == 0),
        Part::Sidecar | Part::Main => shown.is_ready(),
    };
    ContainerStatus {
        name: shown.name.clone(),
        image: shown.image.clone(),
        container_id: Some(format!("{id}/{}", shown.restarts)),
        last_state: shown.last.map(|end| terminated(&end, &id)),
        ready,
        restart_count: shown.restarts,
        started: Some(shown.is_running() && shown.started),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

fn terminated(end: &Termination, id: &str) -> ContainerState {
    let reason = if end.code == 0 { "Completed" } else { "Error" };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(id.to_owned()),
            exit_code: end.code,
            started_at: Some(Time(end.began)),
            finished_at: Some(Time(end.ended)),
            reason: Some(reason.to_owned()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}
