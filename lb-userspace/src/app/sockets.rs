//! The sockets of the node's processes, as a stage of the agent: when they are served, when they are looked after.

use std::time::{Duration, Instant};

use lb_common::socket::SocketLb;

use crate::datapath::{Cgroup, Datapath, PinPaths, SocketBalancer, SocketConfig};
use crate::maps::bpf::BpfMaps;
use crate::reconciler::Reconciler;

/// How long after a write the connected sockets are looked at. A process that has read a slot just before the write is
/// connected by then.
const SETTLING: Duration = Duration::from_millis(200);

/// The stage.
pub(super) struct Sockets {
    balancer: SocketBalancer,
    is_serving: bool,
    look_at: Option<Instant>,
}

impl Sockets {
    /// Attaches nothing yet.
    pub(super) fn new(
        config: &SocketConfig,
        cgroup: &Cgroup,
        datapath: &mut Datapath,
        paths: PinPaths,
    ) -> Self {
        let programs = datapath.take_socket_programs();
        Self {
            balancer: SocketBalancer::new(config, cgroup, programs, paths),
            is_serving: false,
            look_at: None,
        }
    }

    /// Begins to serve, once, when the maps hold what processes may ask for.
    pub(super) fn serve(&mut self, reconciler: &mut Reconciler<BpfMaps>) {
        if self.is_serving {
            return;
        }
        self.is_serving = true;
        note(self.balancer.serve(), reconciler);
        self.backends_changed();
    }

    /// Tells that backends may have gone.
    pub(super) fn backends_changed(&mut self) {
        self.look_at
            .get_or_insert_with(|| Instant::now() + SETTLING);
    }

    /// When sockets are to be looked at next.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Ends the sockets that are connected to a backend which is gone.
    pub(super) fn look(&mut self) {
        self.look_at = None;
        self.balancer.end_stale_sockets();
    }

    /// What is done now and then: puts back what somebody else took away, and looks at the sockets.
    pub(super) fn look_after(&mut self, reconciler: &mut Reconciler<BpfMaps>) {
        if !self.is_serving {
            return;
        }
        if let Some(state) = self.balancer.repair() {
            note(state, reconciler);
        }
        self.look();
    }
}

fn note(state: SocketLb, reconciler: &mut Reconciler<BpfMaps>) {
    super::note(reconciler, |config| config.socket_lb = state as u32);
}
