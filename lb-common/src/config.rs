//! What the agent keeps in the kernel across its own restarts.

use crate::layout::map_type;

map_type! {
    /// The one element of `config`, written by the agent alone. The programs read none of it: what they need is fixed in
    /// their read-only data when they are loaded.
    pub struct Config {
        /// Key of every hash in the data plane, random when the maps are made. A restarted agent loads its programs with
        /// the same secret: a lost flow must hash to the same slot as before.
        pub secret: u64,
        /// Unix time in seconds when the running or last agent started; 0 if none has.
        pub started_at: u64,
        /// Unix time in seconds of the last completed write of the desired state; 0 if there was none.
        pub synced_at: u64,
        /// Counts the completed writes of the desired state.
        pub generation: u64,
        /// Process id of the running or last agent, in its own pid namespace.
        pub agent_pid: u32,
        /// Clock ticks (jiffies) per second of this kernel.
        pub ticks_per_second: u32,
        /// What the agent made of the node's own sockets: the number of a [`SocketLb`](crate::socket::SocketLb).
        pub socket_lb: u32,
        /// What the agent made of the redirect path: the number of a [`RedirectState`](crate::redirect::RedirectState).
        pub redirect: u32,
    }
}
