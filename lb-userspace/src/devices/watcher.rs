//! Follows the devices of the network namespace by netlink: lists them once, then reads notifications.
//!
//! A lost notification is never noticed too late: an overflow, a route that changes a device's role and, to be sure, the
//! passing of time all lead to a new list, whose difference is reported. It attaches nothing.

use std::{collections::VecDeque, io, time::Duration};

use nix::libc;
use thiserror::Error;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Interval, MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

use super::{
    Device, DeviceEvent, Exclusion, Selector,
    kernel::{self, Own, Report},
    tracker::Tracker,
};
use crate::netlink::{Groups, Received, Socket};

/// How often the devices are listed though nothing seems to have changed, unless the maker of the watcher says otherwise.
const LIST_EVERY: Duration = Duration::from_secs(60);

/// The kernel's devices can't be listed or followed.
#[derive(Debug, Error)]
pub enum WatchError {
    /// A netlink call failed.
    #[error("cannot {action} network devices by netlink")]
    Netlink {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> WatchError {
    move |source| WatchError::Netlink { action, source }
}

/// The devices of the calling thread's network namespace.
///
/// # Errors
/// If netlink refuses.
pub fn list() -> Result<Vec<Device>, WatchError> {
    Socket::open(Groups::None)
        .and_then(|socket| kernel::devices(&socket))
        .map_err(failed("list"))
}

/// Reports changes of the workload devices, beginning with those that exist.
#[derive(Debug)]
pub struct DeviceWatcher {
    notifications: AsyncFd<Socket>,
    requests: Socket,
    tracker: Tracker,
    waiting: VecDeque<DeviceEvent>,
    list_again: Interval,
    buffer: Vec<u8>,
}

impl DeviceWatcher {
    /// Subscribes to the calling thread's network namespace, then lists its devices. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// If netlink refuses.
    pub fn new(selector: Selector) -> Result<Self, WatchError> {
        Self::with_interval(selector, LIST_EVERY)
    }

    /// The same, with all devices listed again this often.
    ///
    /// # Errors
    /// If netlink refuses.
    ///
    /// # Panics
    /// If the interval is zero.
    pub fn with_interval(selector: Selector, list_every: Duration) -> Result<Self, WatchError> {
        // Subscribing first: what happens during the list is reported twice rather than never.
        let socket =
            Socket::open(Groups::DevicesRoutesAddresses).map_err(failed("subscribe to"))?;
        // SAFETY: the socket owns its descriptor, hands out the same one always, and closes it only when it is dropped,
        // which the AsyncFd does after it has taken it out of the reactor.
        let notifications = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|error| failed("subscribe to")(error.into()))?;
        let mut list_again = interval(list_every);
        list_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        list_again.reset();
        let mut watcher = Self {
            notifications,
            requests: Socket::open(Groups::None).map_err(failed("list"))?,
            tracker: Tracker::new(selector),
            waiting: VecDeque::new(),
            list_again,
            buffer: Vec::new(),
        };
        watcher.list()?;
        Ok(watcher)
    }

    /// The next change that is known already, without waiting. After [`DeviceWatcher::new`] these are the existing devices.
    pub fn next_known(&mut self) -> Option<DeviceEvent> {
        self.waiting.pop_front()
    }

    /// Waits for the next change. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If netlink refuses; an overflow is no error.
    pub async fn next(&mut self) -> Result<DeviceEvent, WatchError> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(event);
            }
            let received = tokio::select! {
                ready = self.notifications.readable() => {
                    let mut ready = ready.map_err(failed("follow"))?;
                    match ready.try_io(|socket| socket.get_ref().receive(&mut self.buffer).map(<[u8]>::len)) {
                        Ok(received) => received,
                        Err(_would_block) => continue,
                    }
                }
                _ = self.list_again.tick() => {
                    self.list_all()?;
                    continue;
                }
            };
            match received {
                Ok(length) => self.read(length)?,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    info!("device notifications were lost, listing all devices");
                    self.drain()?;
                    self.list_all()?;
                }
                Err(error) => return Err(failed("follow")(error)),
            }
        }
    }

    fn read(&mut self, length: usize) -> Result<(), WatchError> {
        let mut reports = Vec::new();
        let mut rest = self.buffer.get(..length).unwrap_or_default();
        while let Some((message, next)) = Received::split_first(rest) {
            rest = next;
            reports.extend(kernel::read(&message));
        }
        for report in reports {
            match report {
                Report::Device(device) => {
                    let device = self.with_role(device)?;
                    self.waiting.extend(self.tracker.seen(device));
                    self.tell_left_out();
                }
                Report::Gone(ifindex) => self.waiting.extend(self.tracker.gone(ifindex)),
                Report::ListAgain => self.list()?,
            }
        }
        Ok(())
    }

    /// Throws away what waits. Once it has lost one, the kernel drops every notification, without a second error, until
    /// its queue is empty (`netlink_rcv_wake` in `net/netlink/af_netlink.c`): a list before that would miss what comes
    /// after it.
    fn drain(&mut self) -> Result<(), WatchError> {
        loop {
            match self.notifications.get_ref().receive(&mut self.buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(failed("follow")(error)),
            }
        }
    }

    /// Routes and addresses are asked for only where the answer matters: it costs a list of all of them.
    fn with_role(&self, device: Device) -> Result<Device, WatchError> {
        if !self.tracker.depends_on_role(&device) {
            return Ok(device);
        }
        let own = Own::list(&self.requests).map_err(failed("list the routes and addresses of"))?;
        Ok(own.mark(device))
    }

    /// A list with which everything may have changed, what no notification tells included.
    fn list_all(&mut self) -> Result<(), WatchError> {
        self.list()?;
        let devices = self.tracker.workload();
        self.waiting.push_back(DeviceEvent::Listed(devices));
        Ok(())
    }

    fn list(&mut self) -> Result<(), WatchError> {
        let devices = kernel::devices(&self.requests).map_err(failed("list"))?;
        debug!(devices = devices.len(), "listed the devices");
        self.waiting.extend(self.tracker.listed(devices));
        self.tell_left_out();
        Ok(())
    }

    fn tell_left_out(&mut self) {
        for (Device { ifindex, name, .. }, why) in self.tracker.newly_left_out() {
            match why {
                Exclusion::Uplink => {
                    info!(ifindex, device = %name, "no workload device, for a default route leads out of it");
                }
                Exclusion::Subnet => {
                    info!(ifindex, device = %name, "no workload device, for it has an address in a subnet; if it is a pod's, name it by --devices");
                }
                Exclusion::NoEthernet => {
                    warn!(ifindex, device = %name, "left without programs, for its packets have no Ethernet header: make --devices match Ethernet devices only");
                }
            }
        }
    }
}
