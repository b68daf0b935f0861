//! The datapath and the devices against the running kernel: loading, pins, links, following, checks at start.
//!
//! No packet is sent here; what programs do to packets is another test's business. Everything happens in private mount and
//! network namespaces and needs root.

mod cleaning;
mod following;
mod linking;
mod loading;
mod pinning;
mod preflight;
mod privileges;
mod sockets;
mod support;
mod watching;

lab::sandbox!();
