//! Sockets of the node's own processes: programs at a cgroup, each held by a link that a pin holds, so that processes reach
//! VIPs while no agent runs.
//!
//! All of it may be missing: whatever stands in the way costs one warning, and pods are served all the same.

mod hierarchy;
mod hook;
mod hooks;
mod namespace;
mod programs;
mod stale;

use std::path::PathBuf;

use lb_common::pipeline::socket::Scope;
use lb_common::socket::SocketLb;
use tracing::{debug, info, warn};

use super::pins::{PinError, PinPaths};
use crate::causes::with_causes;
pub use hierarchy::Cgroup;
pub use hook::Hook;
pub use hooks::{AttachedHooks, CgroupError, Hooks, attached_hooks};
pub use programs::SocketPrograms;
pub(super) use programs::{Globals, load};
pub use stale::StaleSockets;

/// Whose sockets are to be served, and through which cgroup.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SocketConfig {
    /// Whose; none if no socket is.
    pub scope: Option<Scope>,
    /// The cgroup, if one is named.
    pub cgroup: Option<PathBuf>,
}

fn tell_detached(result: Result<usize, PinError>) {
    match result {
        Ok(0) => {}
        Ok(links) => info!(links, "took the programs of sockets off their cgroup"),
        Err(error) => warn!(
            error = with_causes(&error),
            "cannot take the programs of sockets off their cgroup"
        ),
    }
}

/// What an agent does for the sockets of the node's processes.
#[derive(Debug)]
pub struct SocketBalancer {
    state: SocketLb,
    scope: Scope,
    hooks: Option<Hooks>,
    stale: Option<StaleSockets>,
    paths: PinPaths,
    /// Why they can't be attached was told.
    told: bool,
}

impl SocketBalancer {
    /// Attaches nothing yet: the maps are still to be filled.
    ///
    /// `programs` are those that were loaded, or why they were not.
    pub fn new(
        config: &SocketConfig,
        cgroup: &Cgroup,
        programs: Result<SocketPrograms, SocketLb>,
        paths: PinPaths,
    ) -> Self {
        let mut balancer = Self {
            state: SocketLb::Off,
            scope: config.scope.unwrap_or(Scope::Host),
            hooks: None,
            stale: None,
            paths,
            told: false,
        };
        match (cgroup, programs) {
            (Cgroup::Unwanted, _) => {}
            (Cgroup::Found(folder), Ok(programs)) => {
                balancer.state = SocketLb::NotAttached;
                balancer.hooks = Some(Hooks::new(programs, folder.clone(), balancer.paths.clone()));
            }
            (Cgroup::Found(_), Err(state)) => balancer.state = state,
            // The checks before the start have told why.
            _ => balancer.state = SocketLb::NoCgroup,
        }
        balancer
    }

    /// Attaches the programs, or takes off what an earlier agent attached where none is wanted. To be called once the maps
    /// hold what processes may ask for.
    pub fn serve(&mut self) -> SocketLb {
        if self.state == SocketLb::Off {
            tell_detached(hooks::detach(&self.paths));
            tell_detached(hooks::detach_others(&self.paths));
            return self.state;
        }
        if let Some(hooks) = &self.hooks {
            match hooks.attach() {
                Ok(()) => {
                    self.state = match self.scope {
                        Scope::Host => SocketLb::Host,
                        Scope::All => SocketLb::All,
                    };
                    self.told = false;
                    info!(cgroup = %hooks.cgroup().display(), scope = ?self.scope, "serve sockets");
                }
                Err(error) => {
                    self.state = SocketLb::NotAttached;
                    let error = with_causes(&error);
                    if self.told {
                        debug!(error, "the node's own processes are still not served");
                    } else {
                        warn!(
                            error,
                            "the node's own processes are not served, pods are; it is tried again every minute"
                        );
                    }
                    self.told = true;
                }
            }
        }
        if !matches!(self.state, SocketLb::Host | SocketLb::All) {
            // This layout's programs go on, by tables that are written.
            tell_detached(hooks::detach_others(&self.paths));
        }
        match StaleSockets::open(&self.paths) {
            Ok(stale) => self.stale = Some(stale),
            Err(error) => warn!(
                error = with_causes(&error),
                "UDP sockets that are connected to a backend which goes are not ended"
            ),
        }
        self.state
    }

    /// Attaches again what somebody else has detached, or what could not be attached before. Returns what has become of it if
    /// that changed.
    pub fn repair(&mut self) -> Option<SocketLb> {
        let hooks = self.hooks.as_ref()?;
        if hooks.are_attached() {
            return None;
        }
        let before = self.state;
        if matches!(before, SocketLb::Host | SocketLb::All) {
            warn!(
                "programs of sockets were removed from the cgroup by somebody else; attaching them again"
            );
        }
        let after = self.serve();
        (after != before).then_some(after)
    }

    /// Ends the connected UDP sockets of the agent's network namespace whose backend is gone (S-51).
    pub fn end_stale_sockets(&mut self) {
        if let Some(stale) = &mut self.stale {
            stale.end();
        }
    }
}
