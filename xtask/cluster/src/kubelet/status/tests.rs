//! Tables: what containers do, and the status that follows.

use k8s_openapi::api::core::v1::{PodReadinessGate, PodSpec};

use super::*;

fn shown(state: State) -> Shown {
    Shown {
        name: "web".into(),
        image: "agnhost".into(),
        part: Part::Main,
        state,
        last: None,
        restarts: 0,
        started: true,
        ready: true,
    }
}

fn running() -> State {
    State::Running(Timestamp::UNIX_EPOCH)
}

fn ended(code: i32) -> State {
    let now = Timestamp::UNIX_EPOCH;
    State::Terminated(Termination {
        code,
        began: now,
        ended: now,
    })
}

fn waiting() -> State {
    State::Waiting(NotYet::config("no"))
}

#[track_caller]
fn check(states: &[State], ending: bool, phase: &str, ready: &str) {
    check_pod(&Pod::default(), states, ending, None, (phase, ready));
}

#[track_caller]
fn check_pod(
    pod: &Pod,
    states: &[State],
    ending: bool,
    declared: Option<&str>,
    expected: (&str, &str),
) {
    let shown: Vec<Shown> = states.iter().cloned().map(shown).collect();
    let ips = ["10.244.1.2".parse().unwrap()];
    let status = status(&Facts {
        pod,
        containers: &shown.iter().collect::<Vec<_>>(),
        pod_ips: &ips,
        host_ips: &ips,
        since: Timestamp::UNIX_EPOCH,
        initialized: true,
        ending,
        declared,
        before: &[],
        now: Timestamp::UNIX_EPOCH,
    });
    let conditions = status.conditions.unwrap();
    let ready = conditions.iter().find(|known| known.type_ == "Ready");
    let found = (status.phase.unwrap(), ready.unwrap().status.clone());
    assert_eq!((found.0.as_str(), found.1.as_str()), expected, "{states:?}");
}

#[test]
fn the_phase_and_readiness_follow_from_the_containers() {
    check(&[waiting()], false, "Pending", "False");
    check(&[running(), waiting()], false, "Pending", "False");
    check(&[running()], false, "Running", "True");
    // A pod that is being deleted serves on until its containers end.
    check(&[running()], true, "Running", "True");
    check(&[ended(0)], false, "Running", "False");
    check(&[ended(0), ended(0)], true, "Succeeded", "False");
    check(&[ended(0), ended(1)], true, "Failed", "False");
    check(&[waiting()], true, "Failed", "False");
}

#[test]
fn a_closed_readiness_gate_keeps_a_pod_from_being_ready() {
    let gate = PodReadinessGate {
        condition_type: "open".into(),
    };
    let spec = PodSpec {
        readiness_gates: Some(vec![gate]),
        ..PodSpec::default()
    };
    let mut pod = Pod {
        spec: Some(spec),
        ..Pod::default()
    };
    check_pod(&pod, &[running()], false, None, ("Running", "False"));
    let condition = PodCondition {
        type_: "open".into(),
        status: "True".into(),
        ..PodCondition::default()
    };
    pod.status = Some(PodStatus {
        conditions: Some(vec![condition]),
        ..PodStatus::default()
    });
    check_pod(&pod, &[running()], false, None, ("Running", "True"));
}

#[test]
fn a_declared_failure_stays() {
    let pod = Pod::default();
    let states = [running()];
    check_pod(&pod, &states, true, Some("Failed"), ("Failed", "False"));
}
