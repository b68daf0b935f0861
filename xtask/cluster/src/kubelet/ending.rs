//! The end of a pod: its containers are asked to end, then killed; its namespace goes; its object goes last, where it is
//! being deleted.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::status::Part;
use super::worker::Worker;

/// As long as the real kubelet waits where the pod does not say.
const GRACE: i64 = 30;

/// How far the end of a pod has come.
#[derive(Debug)]
pub(super) struct Ending {
    since: Instant,
    mains_told: bool,
    sidecars_told: bool,
    killed: bool,
    cleaned: bool,
}

impl Ending {
    pub fn now() -> Ending {
        Ending {
            since: Instant::now(),
            mains_told: false,
            sidecars_told: false,
            killed: false,
            cleaned: false,
        }
    }

    /// A later deletion may leave less time, and never more.
    fn deadline(&self, pod: &Pod) -> Instant {
        self.since + grace(pod)
    }
}

/// How long a pod's containers may take to end.
pub(super) fn grace(pod: &Pod) -> Duration {
    let spec = pod.spec.as_ref();
    let seconds = pod
        .metadata
        .deletion_grace_period_seconds
        .or(spec.and_then(|spec| spec.termination_grace_period_seconds))
        .unwrap_or(GRACE);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

impl Worker {
    /// Does what is due of the pod's end.
    pub(super) async fn end(&mut self) {
        let Some(mut ending) = self.ending.take() else {
            return;
        };
        let running = |part: &[Part]| {
            let containers = self.containers.iter();
            containers
                .filter(|container| part.contains(&container.shown.part))
                .any(|container| container.shown.is_running())
        };
        let first = running(&[Part::Init, Part::Main]);
        let any = first || running(&[Part::Sidecar]);
        let deadline = ending.deadline(&self.pod);
        if !ending.mains_told {
            ending.mains_told = true;
            self.terminate(&[Part::Init, Part::Main], deadline);
        }
        if !first && !ending.sidecars_told {
            ending.sidecars_told = true;
            self.terminate(&[Part::Sidecar], deadline);
        }
        if any && !ending.killed {
            if Instant::now() < deadline {
                self.wake_at(deadline);
            } else {
                ending.killed = true;
                for container in &self.containers {
                    container.kill();
                }
            }
        }
        self.ending = Some(ending);
        let told = self.publish().await;
        if any || !told {
            return;
        }
        if let Some(ending) = &mut self.ending
            && !ending.cleaned
        {
            ending.cleaned = true;
            self.clean_up().await;
        }
        if self.pod.metadata.deletion_timestamp.is_some() {
            self.delete_object().await;
        }
    }

    fn terminate(&mut self, parts: &[Part], deadline: Instant) {
        for container in &mut self.containers {
            if parts.contains(&container.shown.part) {
                container.terminate(deadline);
            }
        }
    }
}
