//! What tests on every level share: a packet builder that knows nothing of incremental checksums, and the data plane in
//! memory. Only with the feature `std`; the BPF object contains none of it.

pub mod frame;
pub mod memory;

pub use frame::{Frame, Ip, L4};
pub use memory::MemoryDataplane;
