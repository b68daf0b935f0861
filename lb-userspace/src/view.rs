//! What the maps hold, in the names that people know: the one renderer, for the command line and for tests.
//!
//! It needs the maps, and for the status what is on devices, but no agent and no API server. Every view is a list that
//! serde writes as JSON and `Display` as text in aligned columns, sorted, so that two prints of one state are equal. It
//! changes nothing.

mod backends;
mod columns;
mod dump;
mod flows;
mod names;
mod services;
mod status;
#[cfg(test)]
mod tests;

pub use backends::{BackendView, Backends, backends};
pub use dump::dump;
pub use flows::{Clock, FlowView, Flows, conntrack};
pub use services::{ServiceView, Services, services};
pub use status::{
    CounterView, FillView, Status, connections, displaced, is_nearly_full, most_entries, status,
};
