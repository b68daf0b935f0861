//! The real `lb` on the nodes of a lab, and real connections through it: what a user of the cluster would see.
//!
//! Every test has a cluster of its own, needs root, and ends with the assertion that no namespace counted a wrong
//! checksum. What single packets look like is another test's business, and so is what the maps hold.

mod affinity;
mod arrivals;
mod bad_input;
mod bystanders;
mod clsact;
mod cluster;
mod commands;
mod errors;
mod failover;
mod flood;
mod fragments;
mod hairpin;
mod host_clients;
mod load;
mod outside;
mod pings;
mod redirect;
mod refusal;
mod repair;
mod restart;
mod scaling;
mod sctp;
mod source_port;
mod spread;
mod streams;
mod unallocated;
mod uplinks;

lab::sandbox!();

/// Makes two tests of each function: one with routed pods, one with bridged pods.
macro_rules! on_both_cnis {
    ($($(#[$doc:meta])* fn $name:ident($builder:ident) $body:block)+) => {
        $($(#[$doc])* mod $name {
            use super::*;

            fn check($builder: $crate::cluster::Builder) -> anyhow::Result<()> $body

            #[test]
            fn routed() -> anyhow::Result<()> {
                check($crate::cluster::Cluster::builder().cni(lab::Cni::Routed))
            }

            #[test]
            fn bridged() -> anyhow::Result<()> {
                check($crate::cluster::Cluster::builder().cni(lab::Cni::Bridge))
            }
        })+
    };
}
use on_both_cnis;
