//! Requests of all kinds to both VIPs of a Service, for as long as a test makes changes, of which none may fail.

use std::time::Duration;

use anyhow::Result;
use lab::Pod;
use lab::client::{Kind, Load, Options};

use super::cluster::{DATAGRAMS, HTTP, Service};

/// A load of new connections, kept ones and datagrams, over both families.
pub struct MixedLoad(Vec<(String, Load)>);

impl MixedLoad {
    /// Starts it and waits until all of it is under way.
    pub fn start(client: &Pod, service: &Service) -> Result<Self> {
        Self::start_kinds(client, service, &[Kind::Http, Kind::KeepAlive, Kind::Udp])
    }

    /// As [`MixedLoad::start`], of some kinds alone.
    pub fn start_kinds(client: &Pod, service: &Service, kinds: &[Kind]) -> Result<Self> {
        // The machine has other tests to run.
        let options = Options {
            pause: Duration::from_millis(5),
            ..Options::default()
        };
        let mut loads = Vec::new();
        for kind in kinds {
            let port = if *kind == Kind::Udp { DATAGRAMS } else { HTTP };
            for to in service.at(port) {
                let load = Load::start_with(&client.netns, to, *kind, 2, options)?;
                loads.push((format!("{kind:?} to {to}"), load));
            }
        }
        let load = Self(loads);
        load.wait_for_more(10)?;
        Ok(load)
    }

    /// Waits until so many more requests of each kind have ended.
    pub fn wait_for_more(&self, requests: u64) -> Result<()> {
        for (_, load) in &self.0 {
            load.wait_for_more(requests, Duration::from_secs(20))?;
        }
        Ok(())
    }

    /// Ends it and holds that no request failed.
    #[track_caller]
    pub fn stop_without_errors(self) {
        for (what, load) in self.0 {
            let report = load.stop().expect("the load could run");
            assert!(report.errors == 0 && report.total > 0, "{what}: {report}");
        }
    }
}
