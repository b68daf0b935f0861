//! Sees to it that each workload device has its programs: attaches as devices come, tries again what failed, puts back
//! what somebody else removed, sweeps what is left of devices that are gone.
//!
//! It decides neither which devices those are nor how programs are attached. It holds nobody up: a device that fails
//! waits for its next try while the others are served.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    error::Error,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use crate::causes::with_causes;

use super::{
    Device, DeviceEvent, DeviceWatcher, WatchError,
    status::{DeviceState, DeviceStatus, FollowerStatus},
};

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long to wait before saying that there is no workload device at all: a node that starts has none yet.
const NONE_AFTER: Duration = Duration::from_secs(10);

/// Puts programs on a device and takes them off. The calls may block for as long as a system call does.
pub trait Attacher: Send + Sync + 'static {
    /// Why it did not work.
    type Error: Error + Send + Sync + 'static;

    /// Sees to it that the device has the current programs, each exactly once.
    ///
    /// # Errors
    /// If it has not; the device is tried again unless [`Attacher::is_final`] says otherwise.
    fn attach(&self, ifindex: u32, name: &str) -> Result<(), Self::Error>;

    /// Whether both sides of the device have their programs still. Changes nothing.
    ///
    /// # Errors
    /// If that can't be told.
    fn is_attached(&self, ifindex: u32) -> Result<bool, Self::Error>;

    /// Takes the programs off a device, which may be gone already.
    ///
    /// # Errors
    /// If something is left.
    fn detach(&self, ifindex: u32) -> Result<(), Self::Error>;

    /// The devices on which an earlier agent left something, whether they still exist or not.
    ///
    /// # Errors
    /// If that can't be told.
    fn left_behind(&self) -> Result<BTreeSet<u32>, Self::Error>;

    /// Whether trying again is pointless, since the device itself is gone.
    fn is_final(&self, error: &Self::Error) -> bool;
}

/// The task.
pub struct DeviceFollower<A> {
    watcher: DeviceWatcher,
    attacher: Arc<A>,
    retries: BTreeMap<u32, Retry>,
    status: watch::Sender<FollowerStatus>,
}

struct Retry {
    device: Device,
    at: Instant,
    tries: u32,
}

impl<A: Attacher> DeviceFollower<A> {
    /// A follower of the devices that the watcher reports.
    pub fn new(watcher: DeviceWatcher, attacher: Arc<A>) -> Self {
        Self {
            watcher,
            attacher,
            retries: BTreeMap::new(),
            status: watch::Sender::new(FollowerStatus::default()),
        }
    }

    /// Where to read what it is doing.
    pub fn status(&self) -> watch::Receiver<FollowerStatus> {
        self.status.subscribe()
    }

    /// Runs until the future is dropped; what is attached then stays attached.
    ///
    /// # Errors
    /// If the devices can't be followed any more.
    pub async fn run(mut self) -> Result<Infallible, WatchError> {
        while let Some(event) = self.watcher.next_known() {
            self.handle(event).await;
        }
        self.sweep().await;
        self.status.send_modify(|status| status.is_complete = true);
        let mut say_none_at = Some(Instant::now() + NONE_AFTER);
        loop {
            let retry_at = self.retries.values().map(|retry| retry.at).min();
            tokio::select! {
                event = self.watcher.next() => {
                    let event = event?;
                    self.handle(event).await;
                }
                () = until(retry_at) => self.retry().await,
                () = until(say_none_at) => {
                    say_none_at = None;
                    self.warn_if_none();
                }
            }
        }
    }

    fn warn_if_none(&self) {
        if self.status.borrow().devices.is_empty() {
            warn!(
                "no workload device found: unless no pod with a network of its own runs here, see to it that the agent runs in the host's network namespace, or name the pods' devices by --devices"
            );
        }
    }

    async fn handle(&mut self, event: DeviceEvent) {
        match event {
            DeviceEvent::Added(device) => self.attach(device, 0).await,
            DeviceEvent::Removed(ifindex) => self.detach(ifindex).await,
            DeviceEvent::Listed(devices) => self.verify(devices).await,
            DeviceEvent::Renamed(device) => {
                info!(ifindex = device.ifindex, device = %device.name, "workload device has a new name");
                if let Some(retry) = self.retries.get_mut(&device.ifindex) {
                    retry.device = device.clone();
                }
                self.status.send_modify(|status| {
                    if let Some(known) = status.devices.get_mut(&device.ifindex) {
                        known.name = device.name;
                    }
                });
            }
        }
    }

    async fn attach(&mut self, device: Device, tries: u32) {
        let ifindex = device.ifindex;
        let name = device.name.clone();
        let result = self
            .blocking(move |attacher| attacher.attach(ifindex, &name))
            .await;
        let state = match result {
            Ok(()) => {
                self.retries.remove(&ifindex);
                info!(ifindex, device = %device.name, "workload device has its programs");
                DeviceState::Attached
            }
            Err(error) if self.attacher.is_final(&error) => {
                // The report that it is gone follows, or has been read already.
                self.retries.remove(&ifindex);
                debug!(ifindex, device = %device.name, "workload device vanished before it had its programs");
                self.forget(ifindex);
                return;
            }
            Err(error) => {
                let error = with_causes(&error);
                let tries = tries + 1;
                let wait = backoff(tries);
                // The first failure and then ever fewer: the wait doubles.
                warn!(ifindex, device = %device.name, %error, tries, retry_in = ?wait, "workload device has no programs");
                let retry = Retry {
                    device: device.clone(),
                    at: Instant::now() + wait,
                    tries,
                };
                self.retries.insert(ifindex, retry);
                DeviceState::Failed { tries, error }
            }
        };
        self.status.send_modify(|status| {
            let name = device.name;
            status.devices.insert(ifindex, DeviceStatus { name, state });
        });
    }

    /// Puts back what somebody else removed. A device that waits for its next try is left to that.
    async fn verify(&mut self, devices: Vec<Device>) {
        let mut attached = devices;
        attached.retain(|device| self.is_served(device.ifindex));
        let stripped = self
            .blocking(move |attacher| {
                attached.retain(|device| is_stripped(attacher, device));
                Ok(attached)
            })
            .await
            .unwrap_or_default();
        for device in stripped {
            let (ifindex, name) = (device.ifindex, device.name.clone());
            self.attach(device, 0).await;
            if self.is_served(ifindex) {
                warn!(
                    ifindex,
                    device = %name,
                    "programs were removed from the device by somebody else; attached again"
                );
            }
        }
    }

    fn is_served(&self, ifindex: u32) -> bool {
        let status = self.status.borrow();
        let device = status.devices.get(&ifindex);
        device.is_some_and(|device| device.state == DeviceState::Attached)
    }

    async fn detach(&mut self, ifindex: u32) {
        self.retries.remove(&ifindex);
        let result = self
            .blocking(move |attacher| attacher.detach(ifindex))
            .await;
        match result {
            Ok(()) => info!(
                ifindex,
                "device is gone or no workload device any more, so its programs' links are removed"
            ),
            Err(error) => {
                warn!(ifindex, error = %with_causes(&error), "programs are left on a device that is no workload device any more");
            }
        }
        self.forget(ifindex);
    }

    /// Removes what an earlier agent left on devices that are no workload devices now.
    async fn sweep(&mut self) {
        let left_behind = match self.blocking(|attacher| attacher.left_behind()).await {
            Ok(left_behind) => left_behind,
            Err(error) => {
                warn!(error = %with_causes(&error), "cannot tell what an earlier agent left behind");
                return;
            }
        };
        let known: BTreeSet<u32> = self.status.borrow().devices.keys().copied().collect();
        for ifindex in left_behind.difference(&known) {
            self.detach(*ifindex).await;
        }
    }

    async fn retry(&mut self) {
        let now = Instant::now();
        let due: Vec<u32> = self
            .retries
            .iter()
            .filter(|(_, retry)| retry.at <= now)
            .map(|(ifindex, _)| *ifindex)
            .collect();
        for ifindex in due {
            if let Some(retry) = self.retries.remove(&ifindex) {
                self.attach(retry.device, retry.tries).await;
            }
        }
    }

    fn forget(&self, ifindex: u32) {
        self.status.send_modify(|status| {
            status.devices.remove(&ifindex);
        });
    }

    /// Runs system calls that may wait for the kernel's locks on a thread where nobody else waits for them.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&A) -> Result<T, A::Error> + Send + 'static,
    ) -> Result<T, A::Error> {
        let attacher = Arc::clone(&self.attacher);
        match task::spawn_blocking(move || work(&attacher)).await {
            Ok(result) => result,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime shuts down, and drops this future too.
                Err(_cancelled) => std::future::pending().await,
            },
        }
    }
}

fn is_stripped<A: Attacher>(attacher: &A, device: &Device) -> bool {
    match attacher.is_attached(device.ifindex) {
        Ok(is_attached) => !is_attached,
        Err(error) => {
            if !attacher.is_final(&error) {
                warn!(
                    ifindex = device.ifindex,
                    device = %device.name,
                    error = %with_causes(&error),
                    "cannot tell whether the workload device has its programs still"
                );
            }
            false
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn backoff(tries: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(2u32.saturating_pow(tries.saturating_sub(1)))
        .min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_half_a_minute() {
        let waits: Vec<_> = [1, 2, 3, 9, 10, 40]
            .map(|tries| backoff(tries).as_millis())
            .into();
        assert_eq!(waits, [100, 200, 400, 25_600, 30_000, 30_000]);
    }
}
