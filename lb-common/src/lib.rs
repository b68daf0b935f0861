//! What the kernel side and the user side share: the map keys and values, and every decision that the data plane takes.
//!
//! The decisions are written once, generic over [`pipeline::Dataplane`]: the BPF object compiles them over BPF maps, the
//! host tests them over hash maps. This crate knows neither aya nor kube, takes no memory from a heap in the code that
//! the BPF object contains, and does no I/O. The feature `std` adds what only user space needs: the in-memory data
//! plane and the packet builder of the tests.
#![cfg_attr(not(any(test, feature = "std")), no_std)]

pub mod addr;
pub mod affinity;
pub mod backend;
pub mod checksum;
pub mod config;
pub mod conntrack;
pub mod crc32c;
pub mod entries;
pub mod families;
pub mod flows;
pub mod fragments;
pub mod frontend;
pub mod hash;
pub mod layout;
#[cfg(any(test, feature = "std"))]
pub mod maglev;
pub mod packet;
pub mod pipeline;
pub mod reason;
pub mod redirect;
pub mod reply_filter;
pub mod rewrite;
pub mod service;
pub mod service_cidr;
pub mod socket;
#[cfg(any(test, feature = "std"))]
pub mod testing;
pub mod token_bucket;
pub mod vip_filter;
