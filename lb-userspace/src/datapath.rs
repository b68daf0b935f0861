//! The programs in the kernel: loaded from the embedded object, their maps pinned, their links held by pins as well, so
//! that packets are translated while no agent runs.
//!
//! This and the BPF side of `maps` are the only places that name aya. Nothing here knows Services or writes an entry,
//! except for the agent's own [`config`](lb_common::config::Config).
//!
//! The order at start: [`Loader::load`] checks the pinned maps, loads the programs and takes the maps over; the maps are
//! filled; then [`Links::attach`] replaces the programs on each device in place, and [`SocketBalancer::serve`] those of the
//! node's own sockets; last [`Datapath::carry_over_again`].

pub mod object;

mod atomics;
mod bpf;
mod cgroup;
mod cleanup;
mod delivery;
mod links;
mod load;
mod lock;
mod memlock;
mod pins;
mod ticks;
mod verify;

pub use cgroup::{
    AttachedHooks, Cgroup, CgroupError, Hook, Hooks, SocketBalancer, SocketConfig, SocketPrograms,
    StaleSockets, attached_hooks,
};
pub use cleanup::{Cleanup, CleanupError, cleanup};
pub use delivery::Delivery;
pub use links::{
    Attach, AttachPoint, Change, Holder, LinkError, Links, Mechanism, Side, Uplinks, attach_points,
};
pub use load::{Datapath, LoadError, LoadedProgram, Loader, Programs};
pub use lock::{Lock, LockError, is_held};
pub use memlock::{Memlock, raise_memlock};
pub use pins::{
    CopyReport, Found, PinError, PinOutcome, PinPaths, PinState, other_layouts, states,
};
pub use ticks::Ticks;
pub use verify::{LOG_LEVEL, verify};

pub(crate) use links::tcx_is_supported;
