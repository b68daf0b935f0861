//! What tests on every level share: a packet builder that knows nothing of incremental checksums, and the data plane in
//! memory. Only with the feature `std`; the BPF object contains none of it.

pub mod address;
pub mod counting;
pub mod crc32c;
pub mod flow_buckets;
pub mod frame;
pub mod icmp;
pub mod l4;
pub mod memory;
pub mod mutate;
pub mod populated;
pub mod random;
pub mod refuse;
pub mod reset;
#[cfg(test)]
pub(crate) mod strategies;
pub mod traffic;

pub use address::{Numbered, v4, v6};
pub use counting::Operations;
pub use frame::{Extension, Frame, Ip, Part};
pub use l4::L4;
pub use memory::MemoryDataplane;
pub use populated::Populated;
pub use random::Random;
pub use refuse::{Refuse, refuse};
pub use traffic::{Sent, Traffic};
