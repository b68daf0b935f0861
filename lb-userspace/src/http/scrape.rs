//! What is read when somebody scrapes, rather than kept up to date: the maps, the devices and the watches. Reads only.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;

use crate::devices::{DeviceState, FollowerStatus};
use crate::maps::bpf::{Access, BpfMaps};
use crate::maps::{MapError, Maps};
use crate::redirect;
use crate::source::Observed;
use crate::view::{self, Clock, FillView};

/// How long a count of the maps' entries is good for: all of conntrack is read for it.
const FILL_LASTS: Duration = Duration::from_secs(30);

/// Where the state of the data plane is read from.
pub struct DataPlane {
    /// The folder of the pinned maps, none for a data plane without any.
    maps: Option<PathBuf>,
    devices: watch::Receiver<FollowerStatus>,
    redirect: watch::Receiver<redirect::Status>,
    observed: Arc<Observed>,
    fill: Mutex<Option<(Instant, Vec<FillView>)>>,
}

impl fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataPlane")
            .field("maps", &self.maps)
            .finish_non_exhaustive()
    }
}

/// What is in the maps can't be told.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    /// A map.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The clock that flows are stamped by.
    #[error("the kernel's clock can't be read: {0}")]
    Clock(io::Error),
}

/// How many workload devices have their programs, wait for them, or are without for now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Devices {
    pub(super) attached: usize,
    pub(super) pending: usize,
    pub(super) failed: usize,
}

impl DataPlane {
    /// Of the maps pinned in a folder, the devices that have programs, the redirect path, and the source of Services.
    pub fn new(
        maps: Option<PathBuf>,
        devices: watch::Receiver<FollowerStatus>,
        redirect: watch::Receiver<redirect::Status>,
        observed: Arc<Observed>,
    ) -> Self {
        Self {
            maps,
            devices,
            redirect,
            observed,
            fill: Mutex::default(),
        }
    }

    /// The counters by the number of their reason, and how full the maps are.
    pub(super) fn read_maps(&self) -> Result<(Vec<u64>, Vec<FillView>), ReadError> {
        let Some(folder) = &self.maps else {
            return Ok((Vec::new(), Vec::new()));
        };
        let maps = BpfMaps::open(folder, Access::Read)?;
        let counters = maps.counters()?;
        let mut fill = self.fill.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = match fill.take() {
            Some((at, fill)) if at.elapsed() < FILL_LASTS => (at, fill),
            _ => {
                let clock = Clock::now().map_err(ReadError::Clock)?;
                let status = view::status(&maps, Vec::new(), true, clock)?;
                (Instant::now(), status.maps)
            }
        };
        let (_, fill) = fill.insert(fresh);
        let mut fill = fill.clone();
        let displaced = view::displaced(&maps)?;
        for map in &mut fill {
            map.displaced = displaced.get(map.map).copied();
        }
        Ok((counters, fill))
    }

    pub(super) fn devices(&self) -> Devices {
        let mut count = Devices::default();
        for device in self.devices.borrow().devices.values() {
            match device.state {
                DeviceState::Attached => count.attached += 1,
                DeviceState::Pending => count.pending += 1,
                DeviceState::Failed { .. } => count.failed += 1,
            }
        }
        count
    }

    pub(super) fn redirect(&self) -> redirect::Status {
        self.redirect.borrow().clone()
    }

    pub(super) fn observed(&self) -> &Observed {
        &self.observed
    }
}
